#!/usr/bin/env python3
"""Writes src/wire's shape tables from the service models in the pinned botocore package: gen_shapes.py OUTPUT.

Flat arrays of small structs (src/wire/shapes.h says what they mean) over one pool of strings; indexes instead of
pointers, so that the file compiles in seconds and needs no relocation. Shape 0 is an empty structure."""

import re
import sys

import botocore.loaders

SERVICES = ["application-autoscaling", "cloudwatch", "iam", "logs", "s3", "sagemaker", "sagemaker-runtime", "sts"]
PROTOCOLS = {"json": "json", "query": "query", "rest-json": "rest_json", "rest-xml": "rest_xml"}
TYPES = {"structure": "structure", "list": "list", "map": "map", "string": "string", "integer": "integer", "long": "integer",
         "float": "real", "double": "real", "boolean": "boolean", "timestamp": "timestamp", "blob": "blob"}
LOCATIONS = {None: "body", "header": "header", "headers": "headers", "uri": "uri", "querystring": "query", "statusCode": "status"}
TIMES = {None: "natural", "iso8601": "iso8601", "rfc822": "http", "unixTimestamp": "epoch"}

# The models' patterns are Java's; these few use what RE2 leaves out. Each is an equal expression, given the lengths
# that the same shape asks for.
REWRITTEN = {
    r"(?!\s*$).+": r".*\S.*",
    r"(?!^[.-])^([a-zA-Z0-9-_.]+)": r"[a-zA-Z0-9_][a-zA-Z0-9_.\-]*",
    r"(?!((^[ ]+.*)|(.*([\u0000-\u001f]|[\u007f-\u009f]|[:/|])+.*)|(.*[ ]+$))).+":
        r"[^ \x00-\x1f\x7f-\x{9f}:/|]([^\x00-\x1f\x7f-\x{9f}:/|]*[^ \x00-\x1f\x7f-\x{9f}:/|])?",
    r"^(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_\.]*$": r"[a-zA-Z0-9][a-zA-Z0-9_\-]*(\.[a-zA-Z0-9_\-]*)?",
    r"^(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+$": r"[a-zA-Z0-9!_.*'()/-]+",
    r"^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$": r"[a-z0-9]+(-[a-z0-9]+)*",
}
JAVA_CLASSES = {r"\p{Alnum}": "a-zA-Z0-9", r"\p{Print}": r"\x20-\x7e", r"\p{ASCII}": r"\x00-\x7f", r"\p{Lower}": "a-z",
                r"\p{Upper}": "A-Z", r"\p{Alpha}": "a-zA-Z", r"\p{Digit}": "0-9", r"\p{Graph}": r"\x21-\x7e"}


def re2(pattern: str) -> str:
    if pattern in REWRITTEN:
        return REWRITTEN[pattern]
    text = re.sub(r"^\(\?=\.\{1,\d+\}\$\)", "", pattern)  # a bound on the length, which the shape has too
    text = re.sub(r"\(\[a-zA-Z0-9\]\(\[a-zA-Z0-9\\?-\]\)\{0,62\}\)\(\?<!-\)", r"([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)", text)
    for beyond in (r"\uD800\uDC00-\uDBFF\uDFFF", r"\u10000-\u10FFFF"):
        text = text.replace(beyond, r"\x{10000}-\x{10FFFF}")
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: rf"\x{{{m[1]}}}", text)
    # RE2 counts to 1,000; the lengths of the shape bound these.
    text = re.sub(r"\{(\d+),(\d+)\}", lambda m: m[0] if int(m[2]) <= 1000 else f"{{{m[1]},}}" if int(m[1]) <= 1000 else "*", text)
    for java, plain in JAVA_CLASSES.items():
        text = re.sub(r"(?<!\[)" + re.escape(java) + r"(?![^\[]*\])", lambda _: f"[{plain}]", text).replace(java, plain)
    return text


class Tables:
    def __init__(self):
        self.pool, self.offsets = "", {}
        self.rows = {name: [] for name in ("Text", "Member", "Shape", "Condition", "Operation", "ModelledError", "Service", "Route")}
        self.rows["Shape"].append(self.shape_row("Empty", "structure", 0, 0))

    def text(self, value) -> str:
        value = str(value or "")
        data = value.encode("latin-1")
        if value not in self.offsets:
            self.offsets[value] = len(self.pool)
            self.pool += value
        assert len(data) < 4096 and len(self.pool) < 1 << 20
        return f"{{{self.offsets[value] << 12 | len(data)}u}}"

    def add(self, table: str, rows) -> str:
        """"FIRST, COUNT" of new rows."""
        first = len(self.rows[table])
        self.rows[table] += rows
        return f"{first if rows else 0},{len(rows)}"

    def shape_row(self, name, kind, first, count, shape={}, values="0,0", flags=()):
        low, high = shape.get("min"), shape.get("max")
        pattern = shape.get("pattern", "")
        bound = lambda value, none: none if value is None else repr(float(value)).removesuffix(".0")
        return (f"{{{self.text(name)},{self.text(pattern)},{self.text(re2(pattern))},{bound(low, 'L')},{bound(high, 'H')},"
                f"{first},{count},{values},Type::{TYPES[kind]},Times::{TIMES[shape.get('timestampFormat')]},{'|'.join(flags) or 0}}}")


class Model:
    """One service's rows."""

    def __init__(self, tables: Tables, name: str, model: dict):
        self.tables, self.name, self.model, self.index = tables, name, model, {}

    def shape(self, name: str) -> int:
        if name in self.index:
            return self.index[name]
        shape = self.model["shapes"][name]
        rows = self.tables.rows["Shape"]
        self.index[name] = index = len(rows)
        rows.append(None)  # a structure may contain itself
        if shape["type"] == "structure":
            required = set(shape.get("required", ()))
            members = [self.member(key, ref, shape, key in required) for key, ref in shape.get("members", {}).items()]
        else:
            keys = {"list": ["member"], "map": ["key", "value"]}.get(shape["type"], [])
            members = [self.member(key, shape[key]) for key in keys]
        first, count = self.tables.add("Member", members).split(",")
        # Instance types are the operator's to name.
        enum = () if name.endswith("InstanceType") else shape.get("enum", ())
        values = self.tables.add("Text", [self.tables.text(value) for value in enum])
        flags = [flag for flag, present in (("kFlattened", shape.get("flattened")), ("kUnion", shape.get("union")),
                                            ("kEventStream", shape.get("eventstream")), ("kEvent", shape.get("event")),
                                            ("kLong", shape["type"] == "long")) if present]
        rows[index] = self.tables.shape_row(shape.get("locationName", name), shape["type"], first, count, shape, values, flags)
        return index

    def member(self, key: str, ref: dict, owner={}, required=False) -> str:
        flags = [flag for flag, present in (("kRequired", required), ("kPayload", owner.get("payload") == key),
                                            ("kFlattened", ref.get("flattened")), ("kAttribute", ref.get("xmlAttribute")),
                                            ("kEventPayload", ref.get("eventpayload"))) if present]
        return (f"{{{self.tables.text(key)},{self.tables.text(ref.get('locationName', key))},{self.shape(ref['shape'])},"
                f"Location::{LOCATIONS[ref.get('location')]},{'|'.join(flags) or 0}}}")

    def conditions(self, operation: dict) -> list:
        """What a request must carry beside method and path: the literal query of the model's URI, and required members
        of query and headers."""
        query = operation["http"]["requestUri"].partition("?")[2]
        rows = [("query", *(part.partition("=")[::2])) for part in query.split("&") if part]
        shape = self.model["shapes"][operation["input"]["shape"]] if "input" in operation else {}
        for key in shape.get("required", ()):
            ref = shape["members"][key]
            if ref.get("location") in ("querystring", "header"):
                rows.append((LOCATIONS[ref["location"]], ref["locationName"], ""))
        return [f"{{{self.tables.text(name)},{self.tables.text(value)},Location::{location}}}" for location, name, value in rows]

    def operation(self, service: int, operation: dict) -> tuple:
        rest = "rest" in self.model["metadata"]["protocol"]
        conditions = self.conditions(operation) if rest else []
        path = operation["http"]["requestUri"].partition("?")[0]
        shapes = [self.shape(operation[end]["shape"]) if end in operation else 0 for end in ("input", "output")]
        row = (f"{{{self.tables.text(operation['name'])},{self.tables.text(operation['http']['method'])},{self.tables.text(path)},"
               f"{self.tables.add('Condition', conditions)},{shapes[0]},{shapes[1]},{operation['http'].get('responseCode', 200)},{service}}}")
        return row, (-path.count("/"), "{" in path.split("/")[1], -len(conditions), operation["name"])

    def errors(self) -> list:
        rows = []
        for name, shape in sorted(self.model["shapes"].items()):
            if shape.get("exception"):
                error = shape.get("error", {})
                fault = shape.get("fault") or error.get("fault") or error.get("httpStatusCode", 400) >= 500
                status = error.get("httpStatusCode", 500 if fault else 400)
                rows.append(f"{{{self.tables.text(error.get('code', name))},{self.tables.text(name)},{status}}}")
        return rows

    def service(self, index: int) -> None:
        meta, text = self.model["metadata"], self.tables.text
        protocols = [PROTOCOLS[p] for p in meta["protocols"] if p in PROTOCOLS]
        operations = [self.operation(index, o) for _, o in sorted(self.model["operations"].items())]
        first = len(self.tables.rows["Operation"])
        span = self.tables.add("Operation", [row for row, _ in operations])
        current = [i for i, (_, o) in enumerate(sorted(self.model["operations"].items())) if not o.get("deprecated")]
        order = sorted(current, key=lambda i: operations[i][1]) if "rest" in protocols[0] else []
        routes = self.tables.add("Route", [str(first + i) for i in order])
        self.tables.rows["Service"].append(
            f"{{{text(self.name)},{text(meta.get('signingName', meta['endpointPrefix']))},{text(meta.get('targetPrefix'))},"
            f"{text(meta.get('xmlNamespace', 'http://s3.amazonaws.com/doc/2006-03-01/' if self.name == 's3' else ''))},{text(meta['apiVersion'])},{text(meta.get('jsonVersion'))},"
            f"{span},{routes},{self.tables.add('ModelledError', self.errors())},Protocol::{protocols[0]},{str('query' in protocols[1:]).lower()}}}")


def literal(pool: str) -> str:
    lines = [pool[i:i + 100] for i in range(0, len(pool), 100)]
    escape = lambda line: "".join(c if " " <= c <= "~" and c not in '"\\?' else f"\\{ord(c):03o}" for c in line)
    return "\n".join(f'    "{escape(line)}"' for line in lines)


def main() -> None:
    tables = Tables()
    loader = botocore.loaders.Loader()
    for index, name in enumerate(SERVICES):
        Model(tables, name, loader.load_service_model(name, "service-2")).service(index)
    names = {"Text": ("Text", "kValues"), "Route": ("uint16_t", "kRoutes"), "ModelledError": ("ModelledError", "kErrors")}
    out = ["// Generated by tools/gen_shapes.py from botocore's service models.",
           '#include "wire/shapes.h"', "#include <limits>", "namespace textmill::wire::model {", "namespace {",
           "constexpr double H = std::numeric_limits<double>::infinity(), L = -H;", "}",
           f"extern const char kPool[] =\n{literal(tables.pool)};"]
    for table, rows in tables.rows.items():
        kind, name = names.get(table, (table, f"k{table}s"))
        out.append(f"extern const {kind} {name}[] = {{\n" + ",\n".join(rows) + "};\n" + f"extern const size_t {name}Size = {len(rows)};")
    out.append("}  // namespace textmill::wire::model\n")
    with open(sys.argv[1], "w") as file:
        file.write("\n".join(out))


if __name__ == "__main__":
    main()
