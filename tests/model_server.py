"""`textmill serve` for tests: its process, its log as events, a client."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

from .servers import await_that

JSON = "application/json"


class ModelServer:
    """On a free port if it is given a model; without arguments it is the serving container."""

    def __init__(self, build, model=None, *options, environment=None, wait=True):
        listen = [] if model is None or "--listen" in options else ["--listen", "127.0.0.1:0"]
        command = [build / "textmill", "serve", *([model] if model else []), *listen, *options]
        self.process = subprocess.Popen([str(c) for c in command], stderr=subprocess.PIPE, text=True,
                                        env=os.environ | {"TEXTMILL_LOG_FORMAT": "json"} | (environment or {}))
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(map(json.loads, self.process.stderr)))
        self.reader.start()
        if wait:
            await_that(lambda: self.events("serving") or self.process.poll() is not None, "the model is loaded")
            assert self.process.poll() is None, self.log
            self.port = self.events("serving")[0]["port"]

    def events(self, name):
        return [event for event in list(self.log) if event["event"] == name]

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, body, content_type=JSON, method="POST", path="/invocations", connection=None, **headers):
        """Status, body, headers."""
        on = connection or self.connect()
        try:
            body = json.dumps(body) if isinstance(body, (dict, list)) else body
            fields = {"Content-Type": content_type} if content_type else {}
            on.request(method, path, body, fields | {name.replace("_", "-"): value for name, value in headers.items()})
            answer = on.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            if not connection:
                on.close()

    def get(self, path):
        return self.ask(None, None, "GET", path)

    def json(self, body, **kwargs):
        status, answer, _ = self.ask(body, **kwargs)
        assert status == 200, answer
        return json.loads(answer)

    def send_only(self, body):
        """The connection of a request whose answer nobody has read yet."""
        connection = self.connect()
        connection.request("POST", "/invocations", json.dumps(body), {"Content-Type": JSON})
        return connection

    def raw(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as s:
            s.sendall(data)
            answer = b""
            while chunk := s.recv(65536):
                answer += chunk
        return answer

    def metric(self, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1].decode(), re.M)
        return float(found[1]) if found else 0.0

    def resident(self) -> int:
        """Bytes of it that are in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def alive(self) -> bool:
        return self.get("/ping")[0] == 200 and len(self.json({"inputs": "great"})) == 1

    def stop(self, number=signal.SIGTERM) -> int:
        """Its exit status. A second signal would end it at once."""
        if self.process.poll() is None and not self.events("draining"):
            self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self.reader.join()
        self.process.stderr.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None and kind:
            self.process.kill()
        status = self.stop()
        assert kind or status == 0, self.log
