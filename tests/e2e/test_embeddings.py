"""Embeddings of a bare encoder: `predict`, and the routes of text-embeddings-inference and OpenAI, against transformers and
with the official clients."""

import base64
import json

import huggingface_hub
import numpy as np
import openai
import pytest
import torch
import transformers

from tests.model_server import ModelServer
from tiny_models import POOLING, sentence_model, tiny_bert

TEXTS = ["the film was great", "awful", "a very long and poor plot , but the music was good ! " * 3, "is it true ?"]


def reference(folder, texts, pooling="mean", normalize=True):
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
    encoder = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        with torch.no_grad():
            states = encoder(**tokenizer(text, return_tensors="pt", truncation=True, max_length=64)).last_hidden_state[0]
        row = {"mean": states.mean(0), "cls": states[0], "last-token": states[-1]}[pooling]
        rows.append(torch.nn.functional.normalize(row, dim=0) if normalize else row)
    return torch.stack(rows).numpy()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sentence_model(tmp_path_factory.mktemp("embeddings") / "sentences", prompts={"query": "the film "})


@pytest.fixture(scope="module")
def server(build, model):
    with ModelServer(build, model, "--precision", "f32", "--max-queue", "40") as server:
        yield server


def near(got, expected, tolerance=1e-4):
    got = np.array(got)
    return got.shape == expected.shape and np.abs(got - expected).max() < tolerance


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("today", [True, False])
def test_predict_prints_the_vectors_that_the_folder_s_modules_ask_for(textmill, tmp_path, pooling, normalize, today):
    folder = sentence_model(tmp_path / "model", pooling, normalize, today=today)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    for precision, tolerance in (("f32", 1e-4), ("bf16", 2e-2)):
        done = textmill("predict", folder, "--data", tmp_path / "texts.txt", "--precision", precision)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert near(rows, reference(folder, TEXTS, pooling, normalize), tolerance * (1 if normalize else 5))
    assert f"pooling={pooling}" in done.stderr
    assert json.loads(textmill("describe", folder).stdout)["embedding"] == {
        "dimensions": 64, "pooling": pooling, "normalized": normalize}


def test_minilm_s_own_folder(textmill, minilm):
    text = "Self-hosted embeddings, with the pooling that the folder names."
    tokenizer, encoder = transformers.AutoTokenizer.from_pretrained(minilm), transformers.AutoModel.from_pretrained(minilm).eval()
    with torch.no_grad():
        states = encoder(**tokenizer(text, return_tensors="pt", padding=False)).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states.mean(0), dim=0).numpy()
    assert near(json.loads(textmill("predict", minilm, text, "--precision", "f32").stdout), expected, 1e-5)


def test_a_folder_without_modules_is_the_mean_not_normalized(textmill, tmp_path):
    folder = tiny_bert(tmp_path / "bare")
    done = textmill("predict", folder, TEXTS[0], "--precision", "f32")
    assert near([json.loads(done.stdout)], reference(folder, TEXTS[:1], normalize=False))
    assert "no modules.json" in done.stderr


def test_embed(server, model):
    expected = reference(model, TEXTS)
    assert near(server.json({"inputs": TEXTS}, path="/embed"), expected)
    assert near(server.json({"inputs": TEXTS[0]}, path="/embed"), expected[:1]), "a single text is nested too"
    assert near(server.json({"inputs": TEXTS, "normalize": False}, path="/embed"), reference(model, TEXTS, normalize=False))
    cut = reference(model, TEXTS, normalize=False)[:, :16]
    assert near(server.json({"inputs": TEXTS, "dimensions": 16}, path="/embed"), cut / np.linalg.norm(cut, axis=1, keepdims=True))
    query = reference(model, ["the film was great"])
    assert near(server.json({"inputs": "was great", "prompt_name": "query"}, path="/embed"), query)
    ids = transformers.BertTokenizer(str(model / "vocab.txt"))(TEXTS[0])["input_ids"]
    for inputs in (ids, [ids]):
        assert near(server.json({"inputs": inputs}, path="/embed"), expected[:1])
    assert server.ask({"inputs": TEXTS}, path="/invocations")[1] == server.ask({"inputs": TEXTS}, path="/embed")[1]


def test_a_batch_is_its_members_byte_for_byte(server):
    together = server.json({"inputs": TEXTS * 5}, path="/embed")
    assert together == [server.json({"inputs": text}, path="/embed")[0] for text in TEXTS] * 5


def test_truncation(server, model):
    words = ("great plot and awful music " * 40).split()
    cut = server.json({"inputs": " ".join(words), "truncation_direction": "left"}, path="/embed")
    assert cut == server.json({"inputs": " ".join(words[-62:])}, path="/embed")
    assert server.json({"inputs": " ".join(words)}, path="/embed") == server.json({"inputs": " ".join(words[:62])}, path="/embed")
    status, answer, _ = server.ask({"inputs": " ".join(words), "truncate": False}, path="/embed")
    assert status == 422 and json.loads(answer) == {"error": "202 tokens, at most 64", "error_type": "Validation"}


def test_what_an_answer_cost_is_in_its_headers(server):
    headers = server.ask({"inputs": ["the film", "ünder"]}, path="/embed")[2]
    assert headers["x-compute-type"] == "cpu" and headers["x-compute-characters"] == "13"
    assert int(headers["x-compute-tokens"]) >= 6
    times = {name: int(headers[f"x-{name}-time"]) for name in ("compute", "total", "tokenization", "queue", "inference")}
    assert times["total"] >= times["tokenization"] + times["queue"] + times["inference"] - 3


def test_openai_s_client(server, model):
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)
    expected = reference(model, TEXTS)
    answer = client.embeddings.create(model="sentences", input=TEXTS)  # base64, unless told otherwise
    assert near([item.embedding for item in answer.data], expected) and [item.index for item in answer.data] == [0, 1, 2, 3]
    assert answer.model == "sentences" and answer.usage.prompt_tokens == answer.usage.total_tokens > 8
    floats = client.embeddings.create(model="sentences", input=TEXTS[0], encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(answer.data[0].embedding)
    assert len(client.embeddings.create(model="sentences", input="great", dimensions=8).data[0].embedding) == 8
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.embeddings.create(model="sentences", input="great", dimensions=65)
    assert refused.value.response.json()["type"] == "Validation" and refused.value.response.json()["code"] == 422
    raw = server.json({"input": "great", "encoding_format": "base64"}, path="/embeddings")["data"][0]["embedding"]
    assert len(base64.b64decode(raw)) == 4 * 64


def test_hugging_face_s_client(server, model):
    for path in ("/embed", "", "/"):
        client = huggingface_hub.InferenceClient(f"http://127.0.0.1:{server.port}{path}")
        assert near(client.feature_extraction(TEXTS[0]), reference(model, TEXTS[:1]))
    assert server.get("/")[0] == 200


def test_info_and_health(server, build, tmp_path):
    assert server.get("/health")[0] == server.get("/ping")[0] == 200
    info = json.loads(server.get("/info")[1])
    assert info["model_id"] == "sentences" and info["model_dtype"] == "f32" and info["max_input_length"] == 64
    assert info["model_type"] == {"embedding": {"pooling": "mean"}} and info["max_client_batch_size"] == 40
    with ModelServer(build, tiny_bert(tmp_path / "classifier", ["no", "yes"])) as other:
        kind = json.loads(other.get("/info")[1])["model_type"]
        assert kind == {"classifier": {"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}}}


def test_predict_route(build, tmp_path):
    """A flat list is a pair; lists in a list are a batch."""
    with ModelServer(build, tiny_bert(tmp_path / "model", ["a", "b", "c"]), "--precision", "f32") as server:
        def ask(inputs, **more):
            return server.json({"inputs": inputs} | more, path="/predict")

        one = ask("the film")
        assert [sorted(row) for row in one] == [["label", "score"]] * 3 and sum(row["score"] for row in one) == pytest.approx(1)
        assert [row["score"] for row in one] == sorted((row["score"] for row in one), reverse=True)
        pair = ask(["the film", "was awful"])
        assert pair != one and ask([["the film"], ["the film", "was awful"]]) == [one, pair] and ask(["the film"]) == one
        logits = server.json({"inputs": [{"text": "the film", "text_pair": "was awful"}], "parameters": {"top_k": 3}})
        assert [row["label"] for row in pair] == [row["label"] for row in logits[0]]
        raw = {row["label"]: row["score"] for row in ask("the film", raw_scores=True)}
        total = sum(np.exp(list(raw.values())))
        assert {row["label"]: row["score"] for row in one} == pytest.approx({k: np.exp(v) / total for k, v in raw.items()}, abs=1e-5)
        for path in ("/predict", "/"):
            best = huggingface_hub.InferenceClient(f"http://127.0.0.1:{server.port}{path}").text_classification("the film")
            assert (best.label, best.score) == (one[0]["label"], pytest.approx(one[0]["score"]))
        status, answer, _ = server.ask({"inputs": "a", "parameters": {"top_k": 1}}, path="/predict")
        assert status == 422 and "parameters.top_k" in json.loads(answer)["error"]
        status, answer, _ = server.ask({"inputs": []}, path="/predict")
        assert status == 400 and json.loads(answer)["error_type"] == "Empty"
        for inputs in (["a", "b", "c"], 3, [["a", "b", "c"]], [[]]):
            status, answer, _ = server.ask({"inputs": inputs}, path="/predict")
            assert status == 422 and "inputs" in json.loads(answer)["error"], answer
        status, answer, _ = server.ask({"inputs": "great"}, path="/embed")
        assert status == 424 and json.loads(answer)["error_type"] == "Backend"


BAD = [
    ("/embed", "{", 400, "body"),
    ("/embed", {"inputs": []}, 400, "no inputs"),
    ("/v1/embeddings", {"input": []}, 400, "no inputs"),
    ("/embed", {"inputs": ""}, 422, "inputs"),
    ("/embed", {"inputs": [["a"]]}, 422, "inputs[0]"),
    ("/embed", {"inputs": [2, 10**6]}, 422, "input_ids[1]"),
    ("/embed", {"inputs": "a", "prompt_name": "passage"}, 422, "query"),
    ("/embed", {"inputs": "a", "truncation_direction": "up"}, 422, "truncation_direction"),
    ("/embed", {"inputs": "a", "dimensions": 0}, 422, "dimensions"),
    ("/embed", {"input": "a"}, 422, "input"),
    ("/embed", {"inputs": ["a"] * 41}, 413, "41 inputs"),
    ("/embed", {"inputs": "a", "normalize": "yes"}, 422, "normalize"),
    ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, 422, "encoding_format"),
    ("/v1/embeddings", {"inputs": "a"}, 422, "inputs"),
    ("/predict", {"inputs": "a"}, 424, "/embed"),
]


@pytest.mark.parametrize("path, body, status, named", BAD)
def test_bad_requests_are_named(server, path, body, status, named):
    got, answer, _ = server.ask(body, path=path)
    assert got == status and named in json.loads(answer).get("error", "") + json.loads(answer).get("message", ""), answer
    kind = json.loads(answer).get("error_type") or json.loads(answer)["type"]
    assert kind == ("Empty" if "no inputs" in named else "Backend" if status == 424 else "Validation"), answer
    assert server.get("/health")[0] == 200


@pytest.mark.parametrize("change, named", [
    ({"type": "sentence_transformers.models.Dense"}, "Dense"),
    ({"path": "elsewhere"}, "elsewhere"),
])
def test_modules_that_are_not_built_are_named(textmill, tmp_path, change, named):
    folder = sentence_model(tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1] |= change
    (folder / "modules.json").write_text(json.dumps(modules))
    for command in (["predict", folder, "a"], ["describe", folder]):
        done = textmill(*command, check=False)
        assert done.returncode == 2 and named in done.stderr, done.stderr


@pytest.mark.parametrize("config", ['{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}', '{"pooling_mode": "max"}'])
def test_pooling_by_maximum_is_named(textmill, tmp_path, config):
    folder = sentence_model(tmp_path / "model")
    (folder / "1_Pooling/config.json").write_text(config)
    done = textmill("predict", folder, "a", check=False)
    assert done.returncode == 2 and "1_Pooling/config.json" in done.stderr and "lasttoken" in done.stderr


def test_the_default_prompt_comes_before_every_text(build, textmill, tmp_path):
    folder = sentence_model(tmp_path / "model", prompts={"q": "the good "}, default_prompt="q")
    (tmp_path / "texts.tsv").write_text("text\na great film\n")
    [expected] = reference(folder, ["the good a great film"])
    with ModelServer(build, folder, "--precision", "f32") as server:
        [served] = server.json({"inputs": "a great film"}, path="/embed")
    for command in (["a great film"], ["--data", tmp_path / "texts.tsv"]):
        vector = json.loads(textmill("predict", folder, *command, "--precision", "f32").stdout)
        assert near(vector, expected) and vector == served
    pooling = json.loads((folder / "1_Pooling/config.json").read_text()) | {"include_prompt": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    done = textmill("predict", folder, "a", check=False)
    assert done.returncode == 2 and "include_prompt" in done.stderr


def test_evaluate_of_labels_wants_a_head(textmill, model, tmp_path):
    (tmp_path / "rows.tsv").write_text("label\ttext\na\tb\n")
    done = textmill("evaluate", model, "--data", tmp_path / "rows.tsv", check=False)
    assert done.returncode == 2 and "rows.tsv:2: a model without a classification head is measured on pairs" in done.stderr
