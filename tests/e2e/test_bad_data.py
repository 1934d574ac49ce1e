"""Data that is wrong, in every form: the command ends with status 2 and one line that names file, line and reason."""

import gzip
import subprocess

import pytest

from tiny_models import tiny_bert


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("model") / "model", ["neg", "pos"])


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=content, capture_output=True, check=True).stdout


# name: (file, content, where in it, what the message says)
BAD = {
    "tsv, not UTF-8": ("d.tsv", b"label\ttext\npos\tgood\nneg\tb\xffd\n", ":3", "not UTF-8"),
    "tsv, a short row": ("d.tsv", b"label\ttext\npos\tgood\nneg\n", ":3", "the row has 1 columns, expected 2"),
    "tsv, a long row": ("d.tsv", b"label\ttext\npos\tgood\tmore\n", ":2", "the row has 3 columns, expected 2"),
    "tsv, an unknown label": ("d.tsv", b"label\ttext\npos\tgood\nnegg\tbad\n", ":3", "label 'negg' is not one of the model's 2 (neg, pos); did you mean neg?"),
    "tsv, an empty label": ("d.tsv", b"label\ttext\n\tgood\n", ":2", "the label is empty"),
    "tsv, empty": ("d.tsv", b"", "", "holds no rows"),
    "tsv, only a header": ("d.tsv", b"label\ttext\n", "", "no rows"),
    "csv, not UTF-8": ("d.csv", b"label,text\npos,good\nneg,\"b\xffd\"\n", ":3", "not UTF-8"),
    "csv, a short row": ("d.csv", b"label,text\npos,good\nneg\n", ":3", "the row has 1 columns, expected 2"),
    "csv, a quote without end": ("d.csv", b"label,text\npos,\"good\nneg,bad\n", ":2", "quot"),
    "csv, an unknown label": ("d.csv", b"label,text\npos,good\nnegg,bad\n", ":3", "label 'negg'"),
    "csv, empty": ("d.csv", b"", "", "holds no rows"),
    "jsonl, not UTF-8": ("d.jsonl", b'{"label": "pos", "text": "good"}\n{"label": "neg", "text": "b\xffd"}\n', ":2", "not UTF-8"),
    "jsonl, not JSON": ("d.jsonl", b'{"label": "pos", "text": "good"}\n{"label": "neg", "text": \n', ":2", ""),
    "jsonl, no object": ("d.jsonl", b'{"label": "pos", "text": "good"}\n[1]\n', ":2", "an object"),
    "jsonl, a missing member": ("d.jsonl", b'{"label": "pos", "text": "good"}\n{"label": "neg"}\n', ":2", "text"),
    "jsonl, a missing label": ("d.jsonl", b'{"label": "pos", "text": "good"}\n{"text": "bad"}\n', ":2", "the label is missing"),
    "jsonl, an unknown label": ("d.jsonl", b'{"label": "pos", "text": "good"}\n{"label": "negg", "text": "bad"}\n', ":2", "label 'negg'"),
    "jsonl, empty": ("d.jsonl", b"", "", "holds no rows"),
    "fastText, not UTF-8": ("d.txt", b"__label__pos good\n__label__neg b\xffd\n", ":2", "not UTF-8"),
    "fastText, no label": ("d.txt", b"__label__pos good\nbad\n", ":2", "the label is missing"),
    "fastText, two labels": ("d.txt", b"__label__pos good\n__label__pos __label__neg bad\n", ":2", "more than one label"),
    "fastText, an unknown label": ("d.txt", b"__label__pos good\n__label__negg bad\n", ":2", "label 'negg'"),
    "gzip, a short row": ("d.tsv.gz", gzip.compress(b"label\ttext\npos\tgood\nneg\n"), ":3", "the row has 1 columns, expected 2"),
    "gzip, cut off": ("d.tsv.gz", gzip.compress(b"label\ttext\n" + b"pos\tgood\n" * 999)[:-20], "", ""),
    "gzip, damaged": ("d.tsv.gz", gzip.compress(b"label\ttext\n" + b"pos\tgood\n" * 999)[:30] + b"damage" * 9, "", ""),
    "zstd, a short row": ("d.csv.zst", zstd(b"label,text\npos,good\nneg\n"), ":3", "the row has 1 columns, expected 2"),
    "zstd, cut off": ("d.csv.zst", zstd(b"label,text\n" + b"pos,good\n" * 999)[:-8], "", ""),
    "a folder, not UTF-8": ("d/pos/1.txt", b"good\nb\xffd\n", ":2", "not UTF-8"),
    "a folder, an unknown label": ("d/negg/1.txt", b"bad\n", "", "label 'negg'"),
}


@pytest.mark.parametrize("case", BAD)
def test_status_2_and_file_line_reason(case, model, textmill, tmp_path):
    name, content, line, reason = BAD[case]
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    data = tmp_path / name.split("/")[0]
    commands = [["evaluate", model, "--data", data]]
    if "unknown" not in case:
        commands.append(["train", "--model", model, "--train", data, "--output", tmp_path / "out"])
    for command in commands:
        done = textmill(*command, check=False)
        assert done.returncode == 2 and done.stdout == "", done
        said = [text for text in done.stderr.splitlines() if text.startswith("textmill: ")]
        assert len(said) == 1 and said[0].startswith(f"textmill: {file}{line}:") and reason in said[0], done.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_what_is_no_regular_file(model, textmill, tmp_path):
    done = textmill("predict", model, "--data", "/dev/stdin", input="a text\n" * 10, check=False)
    assert done.returncode == 2 and done.stdout == "" and "/dev/stdin: is no regular file" in done.stderr
    done = textmill("evaluate", model, "--data", tmp_path / "nothing.tsv", check=False)
    assert done.returncode == 2 and f"{tmp_path}/nothing.tsv" in done.stderr
    (tmp_path / "d").mkdir()
    done = textmill("evaluate", model, "--data", tmp_path / "d", check=False)
    assert done.returncode == 2 and "the folder holds no data" in done.stderr


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_models_are_not_scored_as_if_they_chose_one_label(problem, textmill, tmp_path):
    folder = tiny_bert(tmp_path / "model", ["neg", "pos"], problem_type=problem)
    (tmp_path / "d.tsv").write_text("label\ttext\npos\tgood\n")
    done = textmill("evaluate", folder, "--data", tmp_path / "d.tsv", check=False)
    assert done.returncode == 2 and f"{folder}: a regression or multi-label model" in done.stderr
