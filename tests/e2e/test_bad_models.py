"""Model folders that are damaged or lie: one error that names what and where, exit status 2, nothing served."""

import json
import os
import struct

import pytest
from safetensors.torch import load_file, save_file

from tiny_models import reviews, tiny_bert


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
    "a pointer of Git LFS": (lambda f: weights(f).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "Git LFS"),
    "no weights": (lambda f: weights(f).unlink(), "model.safetensors"),
    "unsupported architecture": (lambda f: config(f, model_type="resnet", architectures=["ResNetForImageClassification"]), "resnet"),
    "heads that do not divide": (lambda f: config(f, num_attention_heads=5), "config.json: 5 heads do not divide the hidden size 64"),
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


def test_layers_that_the_configuration_leaves_out_are_said(textmill, folder):
    assert "unread_layers" not in textmill("predict", folder, "the film").stderr
    config(folder, num_hidden_layers=1)
    assert "unread_layers" in (said := textmill("predict", folder, "the film").stderr) and "stored=2 num_hidden_layers=1" in said


@pytest.mark.parametrize("name", ["BertForTokenClassification", "BertForQuestionAnswering", "BertForNextSentencePrediction", "BertForMultipleChoice"])
def test_a_head_for_another_task_is_refused_by_name(textmill, folder, tmp_path, name):
    config(folder, architectures=[name])
    rows = reviews(tmp_path / "rows.tsv", 40)
    for command in (["predict", folder, "the film"], ["evaluate", folder, "--data", rows], ["describe", folder],
                    ["serve", folder, "--listen", "127.0.0.1:0"], ["quantize", folder, "--data", rows, "--output", tmp_path / "small"]):
        done = textmill(*command, check=False)
        assert done.returncode == 2 and f'config.json: architectures: "{name}": its head is not built' in done.stderr, done
    log = textmill("train", "--model", folder, "--train", rows, "--output", tmp_path / "out", "--epochs=1").stderr
    assert 'fresh_weights' in log and "classifier.weight" in log, "the head is of another task"
    textmill("predict", tmp_path / "out", "the film")


def test_an_encoder_as_it_was_pretrained_embeds(textmill, tmp_path):
    folder = tiny_bert(tmp_path / "bare")
    config(folder, architectures=["BertForMaskedLM"])
    assert len(json.loads(textmill("predict", folder, "the film").stdout)) == 64


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
    (tmp_path / "rows.tsv").write_text("label\ttext\nno\tthe film\n")
    done = textmill("evaluate", folder, "--data", tmp_path / "rows.tsv", check=False)
    assert done.returncode == 1 and "nan as a logit" in done.stderr, done


def test_names_of_labels_that_transformers_gives(textmill, folder, tmp_path):
    (tmp_path / "rows.tsv").write_text("label\ttext\n0\tthe film\n1\tgreat\n")
    for names in ({"0": "LABEL_0", "1": "LABEL_1"}, {"0": 0, "1": 1}):
        config(folder, id2label=names)
        done = textmill("evaluate", folder, "--data", tmp_path / "rows.tsv", "--positive", "1")
        assert json.loads(done.stdout)["count"] == 2
    (tmp_path / "rows.tsv").write_text("label\ttext\n2\tthe film\n")
    done = textmill("evaluate", folder, "--data", tmp_path / "rows.tsv", "--label", "label", "--text", "text", check=False)
    assert done.returncode == 2 and "label '2' is not one of the model's 2 (0, 1)" in done.stderr


PATHS = {"avx512-bf16": "avx512_bf16", "avx2": "avx2", "portable": "fpu"}
SPOILT = {"a layer": "bert.encoder.layer.0.output.dense.weight", "attention": "bert.encoder.layer.1.attention.self.query.bias",
          "the head": "classifier.bias"}


@pytest.mark.parametrize("cpu", PATHS)
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
def test_what_is_not_finite_is_no_answer(cpu, activation, textmill, tmp_path):
    """Wherever it arises: attention, activations and the pooler's tanh hand it on."""
    if PATHS[cpu] not in open("/proc/cpuinfo").read():
        pytest.skip(f"this machine lacks {cpu}: nothing here runs on it")
    model = tiny_bert(tmp_path / "model", ["no", "yes"], hidden_act=activation)
    assert textmill("predict", model, "a film").stdout
    good = weights(model).read_bytes()
    for where, tensor in SPOILT.items():
        for value in (float("nan"), float("inf")):
            weights(model).write_bytes(good)
            rewrite(model, lambda tensors: tensors[tensor].view(-1)[:1].fill_(value))
            for precision in ("f32", "bf16"):
                done = textmill("predict", model, "a film", "--precision", precision, env=os.environ | {"TEXTMILL_CPU": cpu}, check=False)
                assert done.returncode == 1 and "not finite" in done.stderr and not done.stdout, (where, value, precision, done)
