"""`textmill quantize` as people use it: a model in, a smaller one out, which every other command takes unchanged."""

import json
import subprocess
import time

import pytest
import torch

from tiny_models import reviews, sentence_model, tiny_bert


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    tiny_bert(folder / "model", ["neg", "pos"])
    reviews(folder / "data.tsv", 300)
    return folder


@pytest.fixture()
def quantize(files, textmill, tmp_path):
    def run(*options, output=None, check=True):
        return textmill("quantize", files / "model", "--data", files / "data.tsv", "--output", output or tmp_path / "out",
                        *options, check=check)

    return run


def test_a_quantized_folder_goes_through_every_command(files, quantize, textmill, tmp_path):
    result = json.loads(quantize("--max-loss", "0.5").stdout)
    small = tmp_path / "out"
    assert result["met"] and result["trials"][-1]["in_floating_point"] == []
    assert json.loads((small / "pareto.json").read_text()) == result
    page = (small / "pareto.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "all layers in 8 bits" in page and "http" not in page
    scores = json.loads(textmill("evaluate", small, "--data", files / "data.tsv").stdout)
    assert scores["count"] == 300
    label = json.loads(textmill("predict", small, "a great film").stdout)
    assert set(label) >= {"label", "score"}
    assert json.loads(textmill("tokenize", small, "good").stdout)["tokens"]
    described = json.loads(textmill("describe", small).stdout)
    before = json.loads(textmill("describe", files / "model").stdout)
    assert described["quantization"] == "w8a8-dynamic" and before["quantization"] is None
    assert (small / "model.safetensors").stat().st_size < 0.5 * (files / "model/model.safetensors").stat().st_size
    done = textmill("train", "--task", "text-classification", "--model", small, "--train", files / "data.tsv", "--output",
                    tmp_path / "trained", check=False)
    assert done.returncode == 2 and "train the model that it was made from" in done.stderr


def test_a_goal_that_is_missed_is_exit_status_3_and_keeps_the_nearest(files, quantize, textmill, tmp_path):
    """Labels that are the model's own answers, and the journal of a search whose every trial got every row wrong."""
    lines = [json.loads(line) for line in textmill("predict", files / "model", "--data", files / "data.tsv", "--precision", "f32").stdout.splitlines()]
    texts = [line.split("\t")[1] for line in (files / "data.tsv").read_text().splitlines()[1:]]
    (tmp_path / "own.tsv").write_text("label\ttext\n" + "".join(f"{a['label']}\t{t}\n" for a, t in zip(lines, texts)))
    command = ["quantize", files / "model", "--data", tmp_path / "own.tsv", "--output", tmp_path / "out", "--precision", "bf16"]
    layers = json.loads(textmill(*command, "--max-loss", "1").stdout)["layers"]
    journal = json.loads((tmp_path / "out/quantize.journal.json").read_text())
    reference, trial = journal["trials"][:2]
    wrong = trial | {"answers": [1 - answer for answer in reference["answers"]]}
    journal["trials"] = [reference] + [wrong | {"kept": kept, "bytes": kept} for kept in range(len(layers) + 1)]
    (tmp_path / "out/quantize.journal.json").write_text(json.dumps(journal))
    done = textmill(*command, check=False)
    result = json.loads(done.stdout)
    assert done.returncode == 3 and not result["met"] and result["gap"] == pytest.approx(0.99) and result["within_goal"] == 0
    assert [trial["name"] for trial in result["trials"] if trial["chosen"]] == [trial["name"]], "none is nearer: the smallest"
    assert (tmp_path / "out/model.safetensors").exists() and "not met" in (tmp_path / "out/pareto.html").read_text()

    half = len(layers) // 2  # now it alone, and those below it that are tried anew, may keep to the goal
    journal["trials"] = [entry | {"answers": reference["answers"]} if entry["kept"] == half else entry for entry in journal["trials"]]
    (tmp_path / "out/quantize.journal.json").write_text(json.dumps(journal))
    result = json.loads(textmill(*command).stdout)
    [chosen] = [trial for trial in result["trials"] if trial["chosen"]]
    assert result["met"] and len(chosen["in_floating_point"]) == half, "where all in floating point misses, parts are looked at"


def test_an_embedder_is_measured_by_rank(files, textmill, tmp_path):
    """Spearman of its own cosines: they agree with themselves, and the small folder embeds as its modules say."""
    sentence_model(tmp_path / "model", "cls")
    reviews(tmp_path / "texts.tsv", 120, seed=3)
    texts = [line.split("\t")[1] for line in (tmp_path / "texts.tsv").read_text().splitlines()[1:]]
    pairs = [{"text": a, "text_pair": b, "label": str(i % 7)} for i, (a, b) in enumerate(zip(texts[::2], texts[1::2]))]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    result = json.loads(textmill("quantize", tmp_path / "model", "--data", tmp_path / "pairs.jsonl", "--output", tmp_path / "small",
                                 "--max-loss-absolute", "1", "--allow-overlap", "--precision", "f32").stdout)
    assert result["goal"]["metric"] == "spearman" and result["rows"] == 60

    def ranks(values):  # equal ones share their mean
        return (values[:, None] > values).sum(1) + (values[:, None] == values).sum(1) / 2

    said = torch.tensor([int(pair["label"]) for pair in pairs])
    (tmp_path / "lines.tsv").write_text("text\n" + "\n".join(texts) + "\n")
    for folder, trial in (("model", result["trials"][0]), ("small", result["trials"][1])):
        rows = [json.loads(line) for line in textmill("predict", tmp_path / folder, "--data", tmp_path / "lines.tsv", "--precision", "f32").stdout.splitlines()]
        cosines = torch.cosine_similarity(torch.tensor(rows[::2]).double(), torch.tensor(rows[1::2]).double())
        assert trial["value"] == pytest.approx(torch.corrcoef(torch.stack([ranks(cosines), ranks(said)]))[0, 1].item(), abs=1e-6)
        scores = json.loads(textmill("evaluate", tmp_path / folder, "--data", tmp_path / "pairs.jsonl", "--precision", "f32").stdout)
        assert scores == {"spearman": trial["value"], "count": 60}
    assert json.loads(textmill("describe", tmp_path / "small").stdout)["embedding"]["pooling"] == "cls"

    def refused(rows, *options):
        (tmp_path / "bad.jsonl").write_text(rows)
        done = textmill("quantize", tmp_path / "model", "--data", tmp_path / "bad.jsonl", "--output", tmp_path / "bad", *options, check=False)
        assert done.returncode == 2
        return done.stderr

    assert "bad.jsonl:2: label 'much': expected a number" in refused('{"text": "a", "text_pair": "b", "label": "1"}\n{"text": "a", "text_pair": "b", "label": "much"}\n')
    assert "bad.jsonl:1: a model without a classification head is measured on pairs" in refused('{"text": "a", "label": "1"}\n{"text": "b", "label": "2"}\n')
    done = textmill("evaluate", tmp_path / "model", "--data", tmp_path / "pairs.jsonl", "--positive", "3", check=False)
    assert done.returncode == 2 and "so no labels" in done.stderr
    assert "it embeds, which spearman measures" in refused('{"text": "a", "text_pair": "b", "label": "1"}\n', "--metric", "f1")


REFUSED = {
    "both goals": (("--max-loss", "0.1", "--max-loss-absolute", "0.1"), "exclude each other"),
    "a metric that is none": (("--metric", "bleu"), "bleu"),
    "ranks of a classifier": (("--metric", "spearman"), "is a classifier"),
    "a loss beyond one": (("--max-loss", "1.5"), "'1.5' is not a number from 0 to 1"),
    "a scheme that is none": (("--scheme", "w8a8-dinamic"), "did you mean w8a8-dynamic?"),
    "a layout that is none": (("--layout", "gguf"), "gguf"),
    "8 bits by channel in groups": (("--layout", "gptq"), "scheme w8a8-dynamic has no groups: the layout gptq cannot hold it"),
    "scales of columns in AWQ's layout": (("--scheme", "awq", "--layout", "awq"), "cannot take the scales back"),
    "8 bits in AWQ's layout": (("--scheme", "w8", "--layout", "awq"), "has not 4 bits"),
    "groups that do not divide": (("--scheme", "w4", "--layout", "awq", "--group-size", "48"), "multiples of 8 output channels and of 48 inputs"),
    "a label that the model lacks": (("--positive", "maybe"), "maybe"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_usage(what, quantize):
    options, message = REFUSED[what]
    done = quantize(*options, check=False)
    assert done.returncode == 2 and message in done.stderr and done.stdout == ""


def test_the_output_is_not_somebody_elses(files, quantize):
    done = quantize(output=files / "model", check=False)
    assert done.returncode == 2 and "holds a model" in done.stderr


def test_a_killed_search_goes_on(build, files, tmp_path):
    """kill -9 after the first trial; the second run does not repeat it, and ends as an unbroken one."""
    reviews(tmp_path / "data.tsv", 4000, seed=5)
    command = [str(build / "textmill"), "quantize", str(files / "model"), "--data", str(tmp_path / "data.tsv"), "--max-loss", "0.5"]
    journal = tmp_path / "killed/quantize.journal.json"
    first = subprocess.Popen([*command, "--output", str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not journal.exists():
        assert first.poll() is None
        time.sleep(0.001)
    first.kill()
    first.wait()
    trials = json.loads(journal.read_text())["trials"]
    assert not (tmp_path / "killed/model.safetensors").exists(), "killed too late to show anything"
    subprocess.run([*command, "--output", str(tmp_path / "killed")], check=True, capture_output=True)
    assert json.loads(journal.read_text())["trials"][: len(trials)] == trials
    subprocess.run([*command, "--output", str(tmp_path / "whole")], check=True, capture_output=True)
    assert (tmp_path / "killed/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
