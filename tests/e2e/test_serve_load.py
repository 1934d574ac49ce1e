"""`textmill serve` under load and at its edges: a full queue, clients that leave, loading, the end, a model without a tokenizer."""

import json
import os
import signal
import socket

import pytest
import torch
import transformers as tf

from tests.model_server import ModelServer
from tests.servers import await_that
from tiny_models import BERT, tiny_bert, write_model

LABELS = ["bad", "good", "neutral"]


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
    return ModelServer(build, model, "--threads", 1, "--precision", "f32", "--max-queue", 64, "--max-batch-tokens", 1,
                       "--max-length", 512)


def await_queue(server):
    await_that(lambda: server.metric("textmill_queue_sequences") > 0, "sequences wait")


def test_a_full_queue_is_429_and_asking_again_helps(build, slow):
    with queue_of(build, slow) as server:
        first = server.send_only(many())
        await_queue(server)
        status, body, headers = server.ask(many())
        assert status == 429 and int(headers["Retry-After"]) >= 1, body
        assert "the queue is full" in json.loads(body)["error"]
        answer = first.getresponse()
        assert answer.status == 200 and len(json.loads(answer.read())["predictions"]) == 64
        assert server.ask(many())[0] == 200


def test_sigterm_finishes_what_is_in_flight(build, slow):
    with queue_of(build, slow) as server:
        first = server.send_only(many())
        await_queue(server)
        server.process.send_signal(signal.SIGTERM)
        await_that(lambda: server.events("draining"), "it drains")
        answer = first.getresponse()
        assert answer.status == 200 and len(json.loads(answer.read())["predictions"]) == 64
        assert server.process.wait(timeout=30) == 0
        with pytest.raises(ConnectionRefusedError):
            server.get("/ping")
    assert server.events("stopped")[0]["all_finished"] is True


def test_clients_that_leave_cost_nothing(build, slow):
    with queue_of(build, slow) as server:
        descriptors = f"/proc/{server.process.pid}/fd"
        server.ask(many(1))
        before = len(os.listdir(descriptors))
        for _ in range(5):
            connection = server.send_only(many())
            await_queue(server)
            connection.close()
            await_that(lambda: server.metric("textmill_queue_sequences") == 0, "what nobody waits for is dropped")
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        await_that(lambda: len(os.listdir(descriptors)) <= before, "connections are closed")
        assert server.ask(many(2))[0] == 200
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
    with ModelServer(build, folder, "--listen", f"127.0.0.1:{port}", wait=False) as server:
        server.port = port

        def answers():
            try:
                return server.get("/ping")
            except ConnectionRefusedError:
                return None

        assert await_that(answers, "it listens")[0] == 503
        status, _, headers = server.ask({"inputs": "a film"})
        assert status == 503 and int(headers["Retry-After"]) >= 1
        (folder / "config.json").write_bytes((model / "config.json").read_bytes())
        await_that(lambda: server.get("/ping")[0] == 200, "the model is loaded")
        assert server.stop() == 0


def test_503_while_draining(build, model):
    """To a request whose head was read before the end, and whose body comes after."""
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with ModelServer(build, model) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as kept:
        kept.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(4096).startswith(b"HTTP/1.1 200 ")
        kept.sendall(head)
        assert kept.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        server.process.send_signal(signal.SIGTERM)
        await_that(lambda: server.events("draining"), "it drains")
        kept.sendall(b"great")
        answer = kept.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1" in answer, answer
        assert server.stop() == 0 and server.events("stopped")[0]["all_finished"]


@pytest.mark.parametrize("kind", ["Roberta", "XLMRoberta"])
def test_roberta_by_input_ids_and_a_word_about_text(kind, build, tmp_path):
    shape = {**BERT, "pad_token_id": 1, "type_vocab_size": 1, "max_position_embeddings": 66}
    torch.manual_seed(0)
    config = getattr(tf, f"{kind}Config")(**shape)
    model = getattr(tf, f"{kind}ForSequenceClassification")(config).eval()
    write_model(tmp_path, model)  # its vocab.txt is another model's
    with ModelServer(build, tmp_path, "--precision", "f32") as server:
        status, body, _ = server.ask({"instances": [{"input_ids": [5, 6, 7]}]})
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([[5, 6, 7]])).logits[0]
        assert status == 200 and torch.allclose(torch.tensor(json.loads(body)["predictions"][0]), expected, atol=1e-4)
        status, body, _ = server.ask({"inputs": "text"})
        assert status == 422 and "tokenizer" in json.loads(body)["error"]
