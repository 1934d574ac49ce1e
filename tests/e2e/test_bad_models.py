"""Model folders that are damaged or lie: one error that names what and where, exit status 2, nothing served."""

import json
import struct

import pytest
from safetensors.torch import load_file, save_file

from tiny_models import tiny_bert


@pytest.fixture()
def folder(tmp_path):
    return tiny_bert(tmp_path / "model", ["no", "yes"])


def weights(folder):
    return folder / "model.safetensors"


def rewrite(folder, change):
    tensors = load_file(weights(folder))
    change(tensors)
    save_file(tensors, weights(folder), metadata={"format": "pt"})


def header(folder, change):
    """The file again, with another header before the same bytes of tensors."""
    raw = weights(folder).read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    value = json.loads(raw[8 : 8 + size])
    text = json.dumps(change(value)).encode()
    weights(folder).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def with_member(name, **members):
    def change(value):
        value[name].update(members)
        return value
    return change


def config(folder, **members):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


QUERY = "bert.encoder.layer.1.attention.self.query.weight"


def overlap(value):
    value[QUERY]["data_offsets"] = value["bert.encoder.layer.0.attention.self.query.weight"]["data_offsets"]
    return value


BAD = {
    "missing tensor": (lambda f: rewrite(f, lambda t: t.pop(QUERY)), QUERY),
    "wrong shape": (lambda f: rewrite(f, lambda t: t.update({QUERY: t[QUERY][:32].clone()})), QUERY),
    "truncated": (lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-100]), "model.safetensors"),
    "empty": (lambda f: weights(f).write_bytes(b""), "model.safetensors"),
    "header of 2^60 bytes": (lambda f: weights(f).write_bytes(struct.pack("<Q", 2**60) + weights(f).read_bytes()[8:]), "model.safetensors"),
    "offsets beyond the file": (lambda f: header(f, with_member(QUERY, data_offsets=[0, 2**40])), QUERY),
    "offsets of 2^60": (lambda f: header(f, with_member(QUERY, data_offsets=[2**60, 2**60 + 16384])), QUERY),
    "offsets backwards": (lambda f: header(f, with_member(QUERY, data_offsets=[16384, 0])), QUERY),
    "overlapping": (lambda f: header(f, overlap), "model.safetensors"),
    "a shape of 2^60": (lambda f: header(f, with_member(QUERY, shape=[2**60, 2**60])), QUERY),
    "an unknown type": (lambda f: header(f, with_member(QUERY, dtype="F7")), "F7"),
    "no weights": (lambda f: weights(f).unlink(), "model.safetensors"),
    "unsupported architecture": (lambda f: config(f, model_type="resnet", architectures=["ResNetForImageClassification"]), "resnet"),
    "heads that do not divide": (lambda f: config(f, num_attention_heads=5), "config.json: expected a hidden size that 5 heads divide"),
    "a size that is text": (lambda f: config(f, hidden_size="64"), "hidden_size"),
    "layers without end": (lambda f: config(f, num_hidden_layers=60_000_000), "num_hidden_layers"),
    "more positions than the table": (lambda f: config(f, max_position_embeddings=2**26), "position_embeddings"),
    "a vocabulary larger than the table": (lambda f: (f / "vocab.txt").open("a").write("\n".join(f"w{i}" for i in range(99))), "vocab_size"),
    "a configuration that is not JSON": (lambda f: (f / "config.json").write_text("{"), "config.json:1"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "config.json"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_error_names_it(textmill, folder, case):
    damage, named = BAD[case]
    damage(folder)
    for arguments in (["describe", folder], ["predict", folder, "the film"], ["serve", folder, "--listen", "127.0.0.1:0"]):
        done = textmill(*arguments, check=False, timeout=30)
        assert done.returncode == 2, (arguments, done)
        assert done.stdout == ""
        lines = [line for line in done.stderr.splitlines() if line.startswith("textmill: ")]
        assert len(lines) == 1 and named in lines[0], done.stderr
        assert str(folder) in lines[0], done.stderr


@pytest.mark.parametrize("change", [lambda t: t.pop(QUERY[5:]), lambda t: t.update({QUERY[5:]: t[QUERY[5:]][:32].clone()})])
def test_a_bare_encoder_is_described_only_if_it_is_whole(textmill, tmp_path, change):
    folder = tiny_bert(tmp_path / "bare")
    assert textmill("describe", folder).returncode == 0
    rewrite(folder, change)
    done = textmill("describe", folder, check=False)
    assert done.returncode == 2 and QUERY in done.stderr, done.stderr


def test_without_a_tokenizer_text_is_refused(textmill, folder):
    (folder / "vocab.txt").unlink()
    done = textmill("predict", folder, "the film", check=False)
    assert done.returncode == 2 and "holds neither tokenizer.json nor vocab.txt; give input_ids" in done.stderr


def test_answers_that_are_no_numbers_are_refused(textmill, folder, tmp_path):
    rewrite(folder, lambda tensors: tensors["classifier.weight"].fill_(float("nan")))
    (tmp_path / "texts.txt").write_text("the film\nwas great\n")
    for arguments in (["the film"], ["--data", tmp_path / "texts.txt"]):
        done = textmill("predict", folder, *arguments, check=False)
        assert done.returncode == 1 and "not finite" in done.stderr and not done.stdout, done
