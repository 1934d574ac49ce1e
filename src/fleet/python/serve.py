"""Serves a user's inference.py as SageMaker's inference images do: GET /ping, POST /invocations.

The script may define model_fn(model_dir), input_fn(body, content_type), predict_fn(data, model), output_fn(prediction,
accept), or transform_fn(model, body, content_type, accept) instead of the last three; each may take the context as one
argument more. Standard library only; numpy, torch, mxnet and transformers are used where the environment has them. Its
one argument is the name of that environment: the framework, whose image decides what the default input_fn returns.
"""

import csv
import importlib.util
import inspect
import io
import json
import os
import site
import sys
import sysconfig
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import textmill_environment

BASE = os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")
MODEL = os.path.join(BASE, "model")
# The artifact's own, or what was unpacked there.
CODE = os.path.join(BASE if os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "").startswith("s3://") else MODEL, "code")
TEXT = ("application/json", "application/jsonlines", "text/")


class Unsupported(Exception):
    """A content type that the defaults cannot read or write."""


def install_requirements():
    """What code/requirements.txt names, unless that is done already."""
    if os.environ.get("TEXTMILL_REQUIREMENTS") or not os.path.exists(os.path.join(CODE, "requirements.txt")):
        return
    print("installing code/requirements.txt", flush=True)
    if textmill_environment.pip_install(["-r", "requirements.txt"], CODE):
        sys.exit("the packages of code/requirements.txt could not be installed")
    site.addsitedir(sysconfig.get_path("purelib"))  # links that came in
    importlib.invalidate_caches()


def load_script():
    program = os.environ.get("SAGEMAKER_PROGRAM") or "inference.py"
    sys.path.insert(0, CODE)
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(program))[0], os.path.join(CODE, program))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def default_model_fn(model_dir):
    task = os.environ.get("HF_TASK")
    if task or os.path.exists(os.path.join(model_dir, "config.json")):
        from transformers import pipeline
        return pipeline(task, model=model_dir) if task else pipeline(model=model_dir)
    raise NotImplementedError("the script defines no model_fn(model_dir), and without config.json there is no other way to load the model")


def default_input_fn(body, content_type):
    kind = content_type.split(";")[0].strip().lower()
    if kind == "application/json" or not kind:
        return json.loads(body)
    if kind == "text/csv":
        rows = [row for row in csv.reader(io.StringIO(body)) if row]
        try:
            rows = [[float(cell) for cell in row] for row in rows]
        except ValueError:
            pass
        return rows
    if kind == "application/x-npy":
        import numpy
        return numpy.load(io.BytesIO(body), allow_pickle=False)
    if kind.startswith("text/"):
        return body
    if kind == "application/octet-stream":
        return body
    raise Unsupported(f"input_fn: {content_type} is none of application/json, text/csv, application/x-npy, text/*")


def tensor(data):
    import torch
    return torch.from_numpy(data) if type(data).__module__ == "numpy" else torch.tensor(data, dtype=torch.float32)


def array(data):
    import numpy
    return data if isinstance(data, numpy.ndarray) else numpy.array(data, dtype="float32")


def ndarray(data):
    import mxnet
    return mxnet.nd.array(data)


OF_NUMBERS = {"pytorch": tensor, "scikit-learn": array, "mxnet": ndarray}  # the others' scripts get what JSON and CSV hold


def input_fn_of(framework):
    convert = OF_NUMBERS.get(framework)
    if not convert:
        return default_input_fn

    def input_fn(body, content_type):
        data = default_input_fn(body, content_type)
        if isinstance(data, (str, bytes, dict)):
            return data
        try:
            return convert(data)
        except Exception:  # the package is not there, or fails as it loads; no numbers: words, rows of unequal length
            return data

    return input_fn


def is_torch(model):
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def default_predict_fn(data, model):
    if is_torch(model):  # as the PyTorch image has it: lists are floats, arrays what they are
        import torch
        if isinstance(data, (list, int, float)):
            data = torch.tensor(data, dtype=torch.float32)
        elif type(data).__module__ == "numpy":
            data = torch.from_numpy(data)
        model.eval()
        with torch.no_grad():
            return model(data)
    if type(model).__module__.startswith("transformers.pipelines") and isinstance(data, dict):
        return model(data.get("inputs", data), **data.get("parameters", {}))
    if hasattr(model, "predict"):
        return model.predict(data)
    return model(data)


def plain(value):
    """Arrays and tensors as lists."""
    if hasattr(value, "asnumpy"):  # mxnet's, which has detach() but not cpu()
        return value.asnumpy().tolist()
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return value.tolist() if hasattr(value, "tolist") else value


def default_output_fn(prediction, accept):
    kinds = [kind.split(";")[0].strip().lower() for kind in accept.split(",")]
    if {"application/json", "*/*", "application/*", ""} & set(kinds):
        return json.dumps(prediction, default=plain), "application/json"
    if "text/csv" in kinds:
        rows = plain(prediction)
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(row if isinstance(row, (list, tuple)) else [row] for row in rows)
        return out.getvalue(), "text/csv"
    if "application/x-npy" in kinds:
        import numpy
        out = io.BytesIO()
        numpy.save(out, numpy.asarray(plain(prediction)))
        return out.getvalue(), "application/x-npy"
    if any(kind.startswith("text/") for kind in kinds):
        return str(prediction), "text/plain"
    raise Unsupported(f"output_fn: {accept} asks for none of application/json, text/csv, application/x-npy, text/*")


class Script:
    """The user's functions, with the defaults where there are none."""

    def __init__(self, module, framework):
        for name, default in (("model_fn", default_model_fn), ("input_fn", input_fn_of(framework)),
                              ("predict_fn", default_predict_fn), ("output_fn", default_output_fn)):
            setattr(self, name, getattr(module, name, default))
        self.transform_fn = getattr(module, "transform_fn", None)
        self.model = self.call(self.model_fn, MODEL)

    @staticmethod
    def call(function, *arguments):
        try:
            most = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            most = len(arguments)
        return function(*arguments, None) if most > len(arguments) else function(*arguments)

    def answer(self, body, content_type, accept):
        """The answer's body (bytes, text, or pieces of them) and its type."""
        if content_type.startswith(TEXT) or not content_type:
            body = body.decode("utf-8")
        if self.transform_fn:
            result = self.call(self.transform_fn, self.model, body, content_type, accept)
        else:
            data = self.call(self.input_fn, body, content_type)
            result = self.call(self.output_fn, self.call(self.predict_fn, data, self.model), accept)
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], str):
            return result
        return result, accept.split(",")[0].split(";")[0].strip() if "*" not in accept else "application/json"


def as_bytes(piece):
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    return (piece if isinstance(piece, str) else json.dumps(piece, default=plain)).encode("utf-8")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    script = None
    turn = None  # scripts are not asked to be safe for threads

    def reply(self, status, body, content_type="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(200 if self.path == "/ping" else 404, b"")

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def do_POST(self):
        body = self.body()
        if self.path != "/invocations":
            return self.reply(404, b"")
        accept = self.headers.get("Accept") or "*/*"
        if accept == "*/*":
            accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or "application/json"
        try:
            with self.turn:
                answer, kind = self.script.answer(body, self.headers.get("Content-Type") or "", accept)
            if inspect.isgenerator(answer):
                return self.stream(answer, kind)
            answer = as_bytes(answer)
        except Unsupported as error:
            return self.reply(415, str(error).encode(), "text/plain")
        except Exception as error:  # the script's own: its author wants to see it
            traceback.print_exc()
            return self.reply(500, f"{type(error).__name__}: {error}".encode(), "text/plain")
        self.reply(200, answer, kind)

    def stream(self, pieces, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            piece = as_bytes(piece)
            if piece:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    os.environ.setdefault("SM_MODEL_DIR", MODEL)
    framework = sys.argv.pop(1) if len(sys.argv) > 1 else ""  # none of the script's arguments
    install_requirements()
    Handler.script = Script(load_script(), framework)
    Handler.turn = threading.Lock()
    Server(("127.0.0.1", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", 8080))), Handler).serve_forever()


if __name__ == "__main__":
    main()
