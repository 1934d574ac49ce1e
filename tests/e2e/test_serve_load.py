"""`textmill serve` under load and at its edges: a full queue, clients that leave, loading, the end, a model without a tokenizer."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest
import torch
import transformers as tf

from tests.servers import await_that
from tiny_models import BERT, tiny_bert, write_model

LABELS = ["bad", "good", "neutral"]
JSON = "application/json"


class Server:
    """`textmill serve` on a free port, its log as events."""

    def __init__(self, build, *arguments, environment=None, wait=True):
        self.process = subprocess.Popen([build / "textmill", "serve", *map(str, arguments)], stderr=subprocess.PIPE, text=True,
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

    def send(self, method, path, body=None, **headers):
        """Status, headers, body."""
        connection = self.connect()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def post(self, body, content_type=JSON, **headers):
        body = json.dumps(body) if content_type == JSON and not isinstance(body, (str, bytes)) else body
        return self.send("POST", "/invocations", body, Content_Type=content_type, **headers)

    def metric(self, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.send("GET", "/metrics")[2].decode(), re.M)
        return float(found[1]) if found else 0.0

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self.reader.join()
        self.process.stderr.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("model"), LABELS)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A model that needs milliseconds for a sequence of full length."""
    return tiny_bert(tmp_path_factory.mktemp("slow"), LABELS, hidden_size=256, num_hidden_layers=4, intermediate_size=1024,
                     max_position_embeddings=512)


def many(count=64):
    return {"instances": [{"input_ids": [2] + [9] * 510 + [3]}] * count}


def queue_of(build, model):
    """A server whose queue is filled by one request, and empties one sequence at a time."""
    return Server(build, model, "--listen", "127.0.0.1:0", "--threads", 1, "--precision", "f32", "--max-queue", 64, "--max-batch-tokens", 1)


def send_only(server, body):
    """The connection of a request whose answer nobody has read yet."""
    connection = server.connect()
    connection.request("POST", "/invocations", json.dumps(body), {"Content-Type": JSON})
    return connection


def await_queue(server):
    await_that(lambda: server.metric("textmill_queue_sequences") > 0, "sequences wait")


def test_a_full_queue_is_429_and_asking_again_helps(build, slow):
    with queue_of(build, slow) as server:
        first = send_only(server, many())
        await_queue(server)
        status, headers, body = server.post(many())
        assert status == 429 and int(headers["Retry-After"]) >= 1, body
        assert "the queue is full" in json.loads(body)["error"]
        answer = first.getresponse()
        assert answer.status == 200 and len(json.loads(answer.read())["predictions"]) == 64
        assert server.post(many())[0] == 200


def test_sigterm_finishes_what_is_in_flight(build, slow):
    with queue_of(build, slow) as server:
        first = send_only(server, many())
        await_queue(server)
        server.process.send_signal(signal.SIGTERM)
        await_that(lambda: server.events("draining"), "it drains")
        answer = first.getresponse()
        assert answer.status == 200 and len(json.loads(answer.read())["predictions"]) == 64
        assert server.process.wait(timeout=30) == 0
        with pytest.raises(ConnectionRefusedError):
            server.send("GET", "/ping")
    assert server.events("stopped")[0]["all_finished"] is True


def test_clients_that_leave_cost_nothing(build, slow):
    with queue_of(build, slow) as server:
        descriptors = f"/proc/{server.process.pid}/fd"
        server.post(many(1))
        before = len(os.listdir(descriptors))
        for _ in range(5):
            connection = send_only(server, many())
            await_queue(server)
            connection.close()
            await_that(lambda: server.metric("textmill_queue_sequences") == 0, "what nobody waits for is dropped")
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        await_that(lambda: len(os.listdir(descriptors)) <= before, "connections are closed")
        assert server.post(many(2))[0] == 200
        answered = server.events("request") + server.events("client_left")
        assert [event["status"] for event in answered].count(499) == 5
        assert server.stop() == 0 and server.events("stopped")[0]["all_finished"], "no connection waits for ever"


def test_503_while_loading(build, model, tmp_path):
    """The configuration is a pipe: loading waits until somebody writes it."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in model.iterdir():
        if file.name != "config.json":
            (folder / file.name).symlink_to(file)
    os.mkfifo(folder / "config.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Server(build, folder, "--listen", f"127.0.0.1:{port}", wait=False) as server:
        server.port = port

        def answers():
            try:
                return server.send("GET", "/ping")
            except ConnectionRefusedError:
                return None

        assert await_that(answers, "it listens")[0] == 503
        status, headers, _ = server.post({"inputs": "a film"})
        assert status == 503 and int(headers["Retry-After"]) >= 1
        (folder / "config.json").write_bytes((model / "config.json").read_bytes())
        await_that(lambda: server.send("GET", "/ping")[0] == 200, "the model is loaded")
        assert server.stop() == 0


def test_roberta_by_input_ids_and_a_word_about_text(build, tmp_path):
    shape = {**BERT, "pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 66}
    torch.manual_seed(0)
    model = tf.RobertaForSequenceClassification(tf.RobertaConfig(**shape)).eval()
    write_model(tmp_path, model)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with Server(build, tmp_path, "--listen", "127.0.0.1:0", "--precision", "f32") as server:
        status, _, body = server.post({"instances": [{"input_ids": [5, 6, 7]}]})
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([[5, 6, 7]])).logits[0]
        assert status == 200 and torch.allclose(torch.tensor(json.loads(body)["predictions"][0]), expected, atol=1e-4)
        status, _, body = server.post({"inputs": "text"})
        assert status == 422 and "tokenizer" in json.loads(body)["error"]
