"""Holds raw answers against botocore's output shapes: every member known, required ones there, types right.

boto3 itself drops what it does not know and never misses what is not there."""

import json
import xml.etree.ElementTree as ElementTree

NUMBERS = {"integer", "long", "float", "double", "timestamp"}


def watch(client):
    client.meta.events.register("after-call", _check, unique_id="shapes")


def _check(http_response, parsed, model, **_):
    if http_response.status_code >= 300 or model.output_shape is None or model.has_streaming_output or model.has_event_stream_output:
        return
    shape, protocol = model.output_shape, model.service_model.resolved_protocol
    body = http_response.content
    if protocol in ("json", "rest-json"):
        if body:
            _json(json.loads(body), shape, model.name)
    elif body and _is_document(shape):
        _document(ElementTree.fromstring(body), shape, protocol, model)
    _required(parsed, shape, model.name)


def _is_document(shape):
    """Not a payload of bytes or text, which is sent as it is."""
    payload = shape.serialization.get("payload")
    return not payload or shape.members[payload].type_name not in ("blob", "string")


def _json(value, shape, where):
    if shape.type_name == "structure":
        assert isinstance(value, dict), f"{where}: expected an object, got {value!r}"
        names = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
        for name, inner in value.items():
            assert name in names, f"{where}: no member {name} in {shape.name}"
            assert inner is not None, f"{where}.{name}: null"
            _json(inner, names[name][1], f"{where}.{name}")
    elif shape.type_name == "list":
        assert isinstance(value, list), f"{where}: expected a list, got {value!r}"
        for i, inner in enumerate(value):
            _json(inner, shape.member, f"{where}[{i}]")
    elif shape.type_name == "map":
        for key, inner in value.items():
            _json(inner, shape.value, f"{where}[{key}]")
    elif shape.type_name in NUMBERS:
        assert isinstance(value, (int, float)) and not isinstance(value, bool), f"{where}: expected a number, got {value!r}"
    elif shape.type_name == "boolean":
        assert isinstance(value, bool), f"{where}: expected true or false, got {value!r}"
    else:
        assert isinstance(value, str), f"{where}: expected a string, got {value!r}"
        _enum(value, shape, where)


def _enum(value, shape, where):
    # Instance types are whatever the fleet has: clients do not look.
    values = None if shape.name.endswith("InstanceType") else getattr(shape, "enum", None)
    assert not values or value in values, f"{where}: {value!r} is none of {values}"


def _document(root, shape, protocol, model):
    if protocol == "query":
        wrapper = shape.serialization.get("resultWrapper")
        root = next((child for child in root if _local(child) == wrapper), None)
        if root is None:
            return
    elif payload := shape.serialization.get("payload"):
        shape = shape.members[payload]
    if shape.type_name == "structure":
        _element(root, shape, model.name)


def _local(element):
    return element.tag.rsplit("}", 1)[-1]


def _wire_names(shape):
    for name, member in shape.members.items():
        if "location" in member.serialization:
            continue
        wire = member.serialization.get("name")
        if member.type_name == "list" and member.serialization.get("flattened"):
            wire = member.member.serialization.get("name", wire)
        yield wire or name, member


def _element(element, shape, where):
    if shape.type_name == "structure":
        names = dict(_wire_names(shape))
        for child in element:
            assert _local(child) in names, f"{where}: no member {_local(child)} in {shape.name}"
            member = names[_local(child)]
            if member.type_name == "list" and member.serialization.get("flattened"):
                member = member.member
            _element(child, member, f"{where}.{_local(child)}")
    elif shape.type_name == "list":
        inner = shape.member.serialization.get("name", "member")
        for i, child in enumerate(element):
            assert _local(child) == inner, f"{where}: expected {inner}, got {_local(child)}"
            _element(child, shape.member, f"{where}[{i}]")
    elif shape.type_name in ("integer", "long"):
        int(element.text)
    elif shape.type_name in ("float", "double"):
        float(element.text)
    elif shape.type_name == "boolean":
        assert element.text in ("true", "false"), f"{where}: {element.text!r}"
    elif shape.type_name == "string":
        _enum(element.text or "", shape, where)


def _required(parsed, shape, where):
    if shape.type_name == "structure" and isinstance(parsed, dict):
        for name in shape.required_members:
            assert name in parsed, f"{where}: the required member {name} is not there"
        for name, value in parsed.items():
            if name in shape.members:
                _required(value, shape.members[name], f"{where}.{name}")
    elif shape.type_name == "list" and isinstance(parsed, list):
        for i, value in enumerate(parsed):
            _required(value, shape.member, f"{where}[{i}]")
