"""`textmill serve` over HTTP, as Hugging Face's and TensorFlow Serving's clients ask it, and as nobody should."""

import concurrent.futures
import http.client
import json
import re
import socket
import subprocess

import numpy as np
import pytest
import torch
import transformers

from tests.model_server import ModelServer
from tiny_models import tiny_bert

LABELS = ["neg", "neutral", "pos"]
TEXTS = ["the film was great", "awful", "a very long and poor plot , but the music was good ! " * 3, "is it true ?", "great"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("serve") / "model", LABELS)


@pytest.fixture(scope="module")
def server(build, model):
    with ModelServer(build, model, "--precision", "f32", "--threads", "2", "--max-body", "20000") as server:
        yield server


def reference(model, texts, pairs=None, max_length=64):
    tokenizer = transformers.BertTokenizer(str(model / "vocab.txt"), do_lower_case=True)
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(model).eval()
    encoded = tokenizer(texts, pairs, return_tensors="pt", padding=True, truncation=True, max_length=max_length)
    with torch.no_grad():
        return classifier(**encoded).logits.numpy(), encoded


def test_the_answers_of_hugging_face_s_containers(server, model):
    logits, _ = reference(model, TEXTS)
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    best = [LABELS[i] for i in logits.argmax(-1)]
    single = server.json({"inputs": TEXTS[0]})
    assert [a["label"] for a in single] == best[:1] and single[0]["score"] == pytest.approx(scores[0].max(), abs=1e-4)
    assert [a["label"] for a in server.json({"inputs": TEXTS})] == best
    every = server.json({"inputs": TEXTS, "parameters": {"top_k": 3}})
    for row, expected in zip(every, scores):
        assert [a["score"] for a in row] == pytest.approx(sorted(expected, reverse=True), abs=1e-4)
        assert sorted(a["label"] for a in row) == sorted(LABELS)
    assert [len(row) for row in server.json({"inputs": TEXTS, "parameters": {"top_k": 2}})] == [2] * len(TEXTS)


@pytest.mark.parametrize("name, function", [("softmax", lambda x: np.exp(x) / np.exp(x).sum()), ("SIGMOID", lambda x: 1 / (1 + np.exp(-x))),
                                            ("none", lambda x: x)])
def test_function_to_apply(name, function, server, model):
    logits, _ = reference(model, TEXTS[:1])
    found = server.json({"inputs": TEXTS[0], "parameters": {"function_to_apply": name, "top_k": None}})
    assert [a["score"] for a in found] == pytest.approx(sorted(function(logits[0]), reverse=True), abs=1e-4)


def test_max_length_and_truncation(server, model):
    for truncation in (True, "longest_first"):
        parameters = {"truncation": truncation, "max_length": 9, "padding": True, "function_to_apply": "none", "top_k": None}
        found = server.json({"inputs": [TEXTS[2], {"text": TEXTS[2], "text_pair": TEXTS[0]}], "parameters": parameters})
        for row, pair in zip(found, (None, TEXTS[:1])):
            logits, _ = reference(model, TEXTS[2:3], pair, 9)
            assert [a["score"] for a in row] == pytest.approx(sorted(logits[0], reverse=True), abs=1e-4)


def test_pairs(server, model):
    logits, _ = reference(model, ["the film"], ["was awful"])
    best = LABELS[int(logits.argmax())]
    pair = {"text": "the film", "text_pair": "was awful"}
    assert server.json({"inputs": pair})[0]["label"] == best
    assert server.json({"inputs": [pair, TEXTS[0]]})[0]["label"] == best
    assert server.ask("the film,was awful\n", "text/csv")[1] == server.ask({"inputs": [pair]})[1]


@pytest.mark.parametrize("precision, tolerance", [("f32", 1e-4), ("bf16", 2e-2)])
def test_padded_instances_give_the_reference_s_logits(build, model, precision, tolerance):
    logits, encoded = reference(model, TEXTS)
    instances = [{name: encoded[name][i].tolist() for name in encoded} for i in range(len(TEXTS))]
    with ModelServer(build, model, "--precision", precision) as server:
        predictions = server.json({"instances": instances})["predictions"]
    assert np.abs(np.array(predictions) - logits).max() < tolerance


def test_plain_text_and_csv(server):
    status, answer, headers = server.ask(TEXTS[0], "text/plain; charset=utf-8")
    assert (status, headers["Content-Type"]) == (200, "application/json") and answer == server.ask({"inputs": TEXTS[0]})[1]
    status, answer, headers = server.ask(f'"{TEXTS[0]}"\n{TEXTS[1]}\n', "text/csv", Accept="text/csv")
    assert status == 200 and headers["Content-Type"].startswith("text/csv") and headers["x-compute-characters"] == str(sum(map(len, TEXTS[:2])))
    expected = server.json({"inputs": TEXTS[:2]})
    assert len(server.json("great\n\nawful\n", content_type="text/csv")) == 3, "an empty line is an empty text"
    assert [line.split(",")[0] for line in answer.decode().splitlines()] == [a["label"] for a in expected]
    for header in ("inputs", "text", "text,text_pair"):
        rows = "great,awful\n" if "," in header else "great\nawful\n"
        assert server.ask(f"{header}\r\n{rows}", "text/csv")[1] == server.ask(rows, "text/csv")[1], "Hugging Face's clients send a header"
    assert server.ask(f"\ufeffinputs\n{rows}".encode(), "text/csv")[1] == server.ask(rows, "text/csv")[1], "as spreadsheets write it"
    assert len(server.json("great\ninputs\n", content_type="text/csv")) == 2, "only the first line is one"


def test_a_log_that_nobody_reads_any_more(build, model):
    process = subprocess.Popen([build / "textmill", "serve", model, "--listen", "127.0.0.1:0", "--log-format", "json"], stderr=subprocess.PIPE, text=True)
    port = next(json.loads(line)["port"] for line in process.stderr if '"serving"' in line)
    process.stderr.close()
    try:
        for body, status in (('{"inputs": 1}', 422), ('{"inputs": "a"}', 200), ("{", 400)):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            client.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            assert client.getresponse().status == status
            client.close()
    finally:
        process.terminate()
    assert process.wait(timeout=30) == 0


def test_more_connections_than_descriptors(build, model):
    process = subprocess.Popen(["sh", "-c", 'ulimit -n 100; exec "$@"', "sh", build / "textmill", "serve", model, "--listen", "127.0.0.1:0", "--log-format", "json"], stderr=subprocess.PIPE, text=True)
    port = next(json.loads(line)["port"] for line in process.stderr if '"serving"' in line)
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(130)]
    try:
        idle[-1].settimeout(30)
        assert idle[-1].recv(100).startswith(b"HTTP/1.1 429 "), "it is told so, and does not hang"
        idle[0].sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle[0].recv(100).startswith(b"HTTP/1.1 200 ")
    finally:
        for connection in idle:
            connection.close()
        process.terminate()
        assert process.wait(timeout=30) == 0
        process.stderr.close()


def test_a_batch_is_its_members_byte_for_byte(build, model):
    answers, sequences = [], [[2, 9, 3], list(range(2, 40)), [2, 3]]
    for threads in ("1", "3"):
        with ModelServer(build, model, "--threads", threads) as server:
            alone = [server.ask({"instances": [{"input_ids": ids}]})[1] for ids in sequences]
            together = server.json({"instances": [{"input_ids": ids} for ids in sequences]})
            assert together["predictions"] == [json.loads(a)["predictions"][0] for a in alone]
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                crowd = list(pool.map(lambda i: server.ask({"instances": [{"input_ids": [2, 9 + i % 5, 3]}]})[1], range(40)))
            assert all(a == crowd[i % 5] for i, a in enumerate(crowd)) and crowd[0] == alone[0]
            answers.append(alone)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_batch_of_long_sequences_of_a_real_model_is_its_members(build, minilm, tmp_path, precision):
    torch.manual_seed(0)
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(minilm, num_labels=3).eval()
    classifier.save_pretrained(tmp_path)
    sequences = [torch.randint(1000, 30000, (length,)).tolist() for length in (512, 3, 129, 512, 64, 1, 333)]
    answers = []
    for threads in ("1", "3"):
        with ModelServer(build, tmp_path, "--threads", threads, "--precision", precision) as server:
            alone = [json.loads(server.ask({"instances": [{"input_ids": ids}]})[1])["predictions"][0] for ids in sequences]
            together = server.json({"instances": [{"input_ids": ids} for ids in sequences]})["predictions"]
            assert server.metric('textmill_batch_sequences_bucket{le="4"}') == len(sequences) == server.metric("textmill_batch_sequences_count") - 1
        assert together == alone
        answers.append(alone)
    assert answers[0] == answers[1]
    with torch.no_grad():
        expected = [classifier(torch.tensor([ids])).logits[0].tolist() for ids in sequences]
    np.testing.assert_allclose(answers[0], expected, atol=1e-4 if precision == "f32" else 2e-2)


BAD = [
    ("{", "application/json", 400, "body"),
    (b'{"inputs": "\xff"}', "application/json", 400, "body:1:13"),
    ('"just a string"', "application/json", 422, "inputs"),
    ({"text": "x"}, "application/json", 422, "inputs"),
    ({"inputs": 3}, "application/json", 422, "inputs"),
    ({"inputs": []}, "application/json", 400, "no input"),
    ({"inputs": ["a", {"txt": "b"}]}, "application/json", 422, "txt"),
    ({"inputs": "a", "parameters": {"top_k": 0}}, "application/json", 422, "top_k"),
    ({"inputs": "a", "parameters": {"temperature": 1}}, "application/json", 422, "temperature"),
    ({"inputs": "a", "parameters": {"max_length": 65}}, "application/json", 422, "has only 64 positions"),
    ({"inputs": "a", "parameters": {"max_length": 1}}, "application/json", 422, "special tokens"),
    ({"inputs": "a", "parameters": {"truncation": "only_first"}}, "application/json", 422, "parameters.truncation"),
    ({"inputs": "a", "parameters": {"function_to_apply": "tanh"}}, "application/json", 422, "parameters.function_to_apply"),
    ({"instances": [{"input_ids": [2, 9, 3], "attention_mask": [1, 0, 1]}]}, "application/json", 422, "instances[0]: attention_mask"),
    ({"instances": [{"input_ids": [2, 9, 3], "attention_mask": [1, 1]}]}, "application/json", 422, "instances[0]: attention_mask"),
    ({"instances": [{"input_ids": [2, 9, 3], "attention_mask": []}]}, "application/json", 422, "instances[0].attention_mask"),
    ({"instances": [{"input_ids": [2, 9, 3], "token_type_ids": []}]}, "application/json", 422, "instances[0].token_type_ids"),
    ({"instances": [{"input_ids": [2, 10**6, 3]}]}, "application/json", 422, "input_ids"),
    ({"instances": [{"input_ids": [2, -1, 3]}]}, "application/json", 422, "instances[0]: input_ids"),
    ({"instances": [{"input_ids": [2] * 65}]}, "application/json", 422, "64"),
    ({"instances": [{"input_ids": []}]}, "application/json", 422, "input_ids"),
    ({"instances": [{"input_ids": [2.5]}]}, "application/json", 422, "input_ids"),
    ("a,b,c\n", "text/csv", 422, "3 fields"),
    (b"\xff\xfe", "text/plain", 400, "UTF-8"),
    ("<a/>", "application/xml", 415, "application/xml"),
    (b"\xe9", "text/plain; charset=latin-1", 415, "charset latin-1 is not read, only utf-8"),
    (b"\xe9", 'text/csv;header=absent; Charset="ISO-8859-1"', 415, "charset iso-8859-1"),
    ({"inputs": "a"}, "application/json;charset=utf-16", 415, "charset utf-16"),
    ("[" * 5000, "application/json", 400, "body"),
]


@pytest.mark.parametrize("body, content_type, status, named", BAD)
def test_bad_requests_are_named(server, body, content_type, status, named):
    got, answer, _ = server.ask(body, content_type)
    assert got == status, answer
    said = json.loads(answer)
    assert named in said.pop("error") and said == {"error_type": "Empty" if named == "no input" else "Validation"}, answer
    assert server.alive()


def test_charsets_that_are_utf_8(server):
    plain = server.ask("great", "text/plain")[:2]
    for charset in ("utf-8", '"UTF-8"', "us-ascii", "utf-8; format=flowed"):
        assert server.ask("great", f"text/plain; charset={charset}")[:2] == plain


def test_a_body_over_the_limit(server):
    status, answer, _ = server.ask({"inputs": "x" * 20001})
    assert status == 413 and b"20000" in answer
    assert server.alive()


def test_wrong_paths_and_methods(server):
    for path, status, said in (("/nothing", 404, "nothing is at /nothing"), ("/invocations", 405, "/invocations does not take GET, only POST")):
        assert server.get(path)[:2] == (status, json.dumps({"error": said, "error_type": "Validation"}, separators=(",", ":")).encode())
    assert server.alive()


def test_an_endless_header_and_bytes_that_are_no_http(server):
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000
    assert re.match(rb"HTTP/1.1 431 ", server.raw(head + b"\r\n\r\n"))
    assert re.match(rb"HTTP/1.1 400 ", server.raw(b"\x16\x03\x01 hello\r\n\r\n"))
    assert server.alive()


def test_a_client_that_leaves(server):
    body = json.dumps({"inputs": [TEXTS[2]] * 100}).encode()
    for cut in (10, len(body) // 2, len(body)):
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            s.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
            s.sendall(body[:cut])
    assert server.alive()


def test_more_inputs_than_the_queue_can_ever_hold(build, model):
    with ModelServer(build, model, "--max-queue", "4") as server:
        for body in ({"inputs": ["a"] * 5}, {"inputs": [3] * 5}, {"instances": [{}] * 5}):  # counted before they are looked at
            status, answer, headers = server.ask(body)
            assert status == 413 and "Retry-After" not in headers and b"5 inputs, at most 4" in answer
        assert len(server.json({"inputs": ["a"] * 4})) == 4


def test_a_model_that_fails_is_424(build, model, tmp_path):
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(model)
    classifier.classifier.bias.data[0] = float("nan")
    classifier.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text((model / "vocab.txt").read_text())
    with ModelServer(build, tmp_path) as server:
        status, answer, _ = server.ask({"inputs": "a"})
        assert status == 424 and b"not finite" in answer
        assert server.get("/ping")[0] == 200


def test_metrics(server):
    server.json({"inputs": ["a", "the"]})
    status, text, headers = server.get("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples = dict(line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    assert float(samples['textmill_requests_total{path="/invocations",status="200"}']) >= 1
    assert float(samples["textmill_tokens_total"]) >= 6


def test_metrics_do_not_grow_with_what_is_asked(server):
    for i in range(20):
        assert server.get(f"/scan/{i}")[0] == 404
    text = server.get("/metrics")[1].decode()
    assert "scan" not in text and 'textmill_requests_total{path="other",status="404"}' in text


def test_every_request_has_a_line_with_its_id(build, model):
    with ModelServer(build, model) as server:
        _, _, headers = server.ask({"inputs": "a"})
        server.ask("{", "application/json")
    lines = [line for line in server.log if line["event"] == "request"]
    assert [line["status"] for line in lines] == [200, 400] and len({line["request_id"] for line in lines}) == 2


def test_packed_weights_are_kept_beside_the_model_and_mapped(build, tmp_path):
    """The second server maps what the first wrote; a damaged file is not used; all answer the same."""
    folder = tiny_bert(tmp_path / "model", ["a", "b"])
    answers = []

    def serve(expected, *options, **environment):
        with ModelServer(build, folder, *options, environment=environment) as server:
            answers.append(server.ask({"inputs": "a great film", "parameters": {"top_k": 2}})[1])
            assert [event["from"] for event in server.events("packed_weights")] == expected

    serve([], "--no-packed-file")
    assert not list(folder.glob("textmill-packed.*"))
    serve(["written"])
    serve(["mapped"])
    [kept] = folder.glob("textmill-packed.*.bin")
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    serve(["written"])
    serve(["mapped"])
    assert len(set(answers)) == 1
    serve(["written"], TEXTMILL_CPU="portable")
    assert len(list(folder.glob("textmill-packed.*.bin"))) == 2
    config = folder / "config.json"  # which says what packed numbers mean
    config.write_text(json.dumps(json.loads(config.read_text()) | {"note": "another"}))
    serve(["written"])


def test_the_container_role(build, model, tmp_path):
    (tmp_path / "model").symlink_to(model)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = {"SAGEMAKER_BASE_DIR": str(tmp_path), "SAGEMAKER_BIND_TO_PORT": str(port), "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0",
                   "TEXTMILL_PRECISION": "f32", "TEXTMILL_MAX_LENGTH": "7"}
    with ModelServer(build, None, environment=environment) as server:
        assert server.port == port and server.alive()
        found = server.events("serving")[0]
        assert (found["precision"], found["max_length"], found["max_length_from"]) == ("f32", 7, "max-length")
        assert len(server.json({"inputs": "great " * 2_000_000})) == 1, "0 is no limit"
