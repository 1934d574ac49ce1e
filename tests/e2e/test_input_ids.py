"""Models whose tokenizer is not built, RoBERTa and XLM-R, from the command line: by `input_ids`, against transformers."""

import json

import pytest
import torch
import transformers as tf

from tests.model_server import ModelServer
from tests.tiny_models import write_model

PAD, LABELS = 1, ["neg", "pos"]
FAMILIES = {"roberta": (tf.RobertaConfig, tf.RobertaModel), "xlm-roberta": (tf.XLMRobertaConfig, tf.XLMRobertaModel)}


def rows(path, count, seed):
    """The label is which of two ids stands among the others; some rows are padded."""
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for i in range(count):
        label = int(torch.randint(0, 2, (1,), generator=generator))
        ids = [0, *torch.randint(10, 60, (3 + i % 9,), generator=generator).tolist(), 5 + label, 2]
        line = {"input_ids": ids, "label": LABELS[label]}
        if i % 3 == 0:
            line |= {"input_ids": ids + [PAD] * 4, "attention_mask": [1] * len(ids) + [0] * 4}
        lines.append(line)
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return lines


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, textmill, tmp_path_factory):
    """A bare encoder and its data; the classifier that was trained of them."""
    folder = tmp_path_factory.mktemp(request.param)
    config, model = FAMILIES[request.param]
    torch.manual_seed(0)
    write_model(folder / "base", model(config(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, type_vocab_size=1,
        max_position_embeddings=40, pad_token_id=PAD)))
    for name in ("vocab.txt", "tokenizer_config.json"):
        (folder / "base" / name).unlink()
    (folder / "base" / "merges.txt").write_text("#version: 0.2\n")
    rows(folder / "train.jsonl", 400, 0)
    validation = rows(folder / "validation.jsonl", 60, 1)
    done = textmill("train", "--model", folder / "base", "--train", folder / "train.jsonl", "--validation", folder / "validation.jsonl",
                    "--output", folder / "out", "--epochs", 4, "--learning-rate", "3e-3", "--precision", "f32")
    assert 'JSON lines: text is \\"input_ids\\", label is \\"label\\" (guessed)' in done.stderr
    return folder, validation


def reference(model, lines):
    classifier = tf.AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        return torch.stack([classifier(input_ids=torch.tensor([line["input_ids"]]),
                                       attention_mask=torch.tensor([line.get("attention_mask", [1] * len(line["input_ids"]))])).logits[0]
                            for line in lines])


def test_trained_evaluated_predicted_and_served_as_transformers_does(trained, build, textmill):
    folder, validation = trained
    scores = reference(folder / "out", validation).softmax(-1)
    truth = [LABELS.index(line["label"]) for line in validation]
    accuracy = (scores.argmax(-1) == torch.tensor(truth)).double().mean().item()
    found = json.loads(textmill("evaluate", folder / "out", "--data", folder / "validation.jsonl", "--precision", "f32").stdout)
    assert found["accuracy"] == pytest.approx(accuracy) and accuracy > 0.9 and found["count"] == 60
    assert found["loss"] == pytest.approx(torch.nn.functional.nll_loss(scores.log(), torch.tensor(truth)).item(), abs=1e-4)
    lines = textmill("predict", folder / "out", "--data", folder / "validation.jsonl", "--precision", "f32").stdout.splitlines()
    for line, row in zip(map(json.loads, lines), scores, strict=True):
        assert line["label"] == LABELS[row.argmax()] and line["score"] == pytest.approx(row.max().item(), abs=1e-4)
    assert (folder / "out" / "merges.txt").read_bytes() == (folder / "base" / "merges.txt").read_bytes(), "copied unchanged"
    instances = [{name: line[name] for name in ("input_ids", "attention_mask") if name in line} for line in validation]
    with ModelServer(build, folder / "out", "--precision", "f32") as server:
        logits = torch.tensor(server.json({"instances": instances})["predictions"])
        status, said, _ = server.ask({"inputs": "a text"})
    torch.testing.assert_close(logits, reference(folder / "out", validation), atol=1e-4, rtol=1e-4)
    assert status == 422 and b"the tokenizer of this model type is not built; give input_ids" in said


def test_it_can_be_quantized(trained, textmill, tmp_path):
    folder, _ = trained
    data = folder / "validation.jsonl"
    textmill("quantize", folder / "out", "--data", data, "--max-loss", 0.2, "--allow-overlap", "--output", tmp_path / "small")
    assert json.loads(textmill("evaluate", tmp_path / "small", "--data", data).stdout)["accuracy"] > 0.9


@pytest.mark.parametrize("line,said", [
    ('{"input_ids": [0, 64, 2], "label": "neg"}', "input_ids[1] is 64, expected 0 to 63"),
    ('{"input_ids": [0, 9, 2], "attention_mask": [0, 1, 1], "label": "neg"}', "attention_mask[1] is 1, expected ones and then zeros"),
    ('{"input_ids": [0, 9, 2], "attention_mask": [1, 1], "label": "neg"}', "attention_mask has 2 numbers, input_ids 3"),
    ('{"input_ids": [], "label": "neg"}', "input_ids: expected at least one number"),
    (json.dumps({"input_ids": [9] * 39, "label": "neg"}), "input_ids: 39 tokens, at most 38"),
    ('{"input_ids": "a text", "label": "neg"}', "the tokenizer of this model type is not built; give input_ids: JSON lines"),
])
def test_bad_rows_are_named(line, said, trained, textmill, tmp_path):
    folder, _ = trained
    (tmp_path / "bad.jsonl").write_text('{"input_ids": [0, 9, 2], "label": "neg"}\n{"input_ids": [0, 5, 2], "label": "pos"}\n' + line + "\n")
    for command in (["evaluate", folder / "out", "--data"], ["predict", folder / "out", "--data"],
                    ["train", "--model", folder / "base", "--output", tmp_path / "new", "--train"]):
        done = textmill(*command, tmp_path / "bad.jsonl", check=False)
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert "tokenizer" in said or f"{tmp_path / 'bad.jsonl'}:3: " in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_text_on_the_command_line_gets_a_clear_error(trained, textmill):
    done = textmill("predict", trained[0] / "out", "a text", check=False)
    assert done.returncode == 2 and 'give input_ids: JSON lines {"input_ids": [0, ...], "label": ...}' in done.stderr
