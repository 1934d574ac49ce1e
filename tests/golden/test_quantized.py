"""A model in 8 bits against the definition, written once more in torch: the bytes on disk, and the logits they give."""

import json

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from golden.test_logits import logits, reference, sequences  # noqa: F401
from tiny_models import reviews, tiny_bert


def quantized(x):
    """Each row symmetric in [-127, 127]; ties to even, as torch rounds."""
    scale = x.abs().amax(-1, keepdim=True) / 127
    return torch.round(x * torch.where(scale > 0, 1 / scale, 0)), scale


class Linear8(torch.nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.values, self.scales = quantized(linear.weight.data)
        self.bias = linear.bias

    def forward(self, x):
        values, scale = quantized(x)
        sums = values.double() @ self.values.double().T  # exact: integers
        return sums.float() * scale * self.scales.T + self.bias


def in_8_bits(folder):
    """transformers' model with its body's linear layers and tables in 8 bits."""
    model = tf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for module in list(model.bert.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear) and "pooler" not in name and module is not model.bert.pooler:
                setattr(module, name, Linear8(child))
            if isinstance(child, torch.nn.Embedding):
                values, scales = quantized(child.weight.data)
                child.weight.data = values * scales
    return model


@pytest.fixture()
def pair(tmp_path, textmill):
    """A model, and the same in 8 bits as the command wrote it."""
    model = tiny_bert(tmp_path / "model", ["neg", "pos"])
    reviews(tmp_path / "data.tsv", 120)
    done = textmill("quantize", model, "--data", tmp_path / "data.tsv", "--max-loss", "0.5", "--output", tmp_path / "small")
    assert json.loads(done.stdout)["met"]
    return model, tmp_path / "small"


def test_the_bytes_are_those_of_the_definition(pair):
    model, small = pair
    before, after = load_file(model / "model.safetensors"), load_file(small / "model.safetensors")
    matrices = [name for name in before if before[name].dim() == 2 and "pooler" not in name and "classifier" not in name]
    assert len(matrices) == 2 * 6 + 3
    assert set(after) == set(before) | {name + "_scale" for name in matrices}
    for name, tensor in before.items():
        if name not in matrices:
            assert torch.equal(after[name], tensor), name
            continue
        values, scales = quantized(tensor)
        assert after[name].dtype == torch.int8 and torch.equal(after[name].float(), values), name
        assert torch.equal(after[name + "_scale"], scales[:, 0]), name
    config = json.loads((small / "config.json").read_text())
    assert config.pop("quantization_config") == {"quant_method": "textmill", "format_version": 1, "scheme": "w8a8-dynamic"}
    assert config == json.loads((model / "config.json").read_text())
    assert (small / "vocab.txt").read_bytes() == (model / "vocab.txt").read_bytes()


@pytest.mark.parametrize("precision, tolerance", [("f32", 2e-3), ("bf16", 3e-2)])
def test_logits_are_those_of_the_definition(pair, logits, precision, tolerance):  # noqa: F811
    model, small = pair
    twin = in_8_bits(model)
    lines = [{"input_ids": ids} for ids in sequences()]
    for line, ours in zip(lines, logits(small, lines, precision)):
        assert torch.allclose(ours, reference(twin, line["input_ids"]), atol=tolerance), line
    exact = tf.AutoModelForSequenceClassification.from_pretrained(model).eval()
    assert any(not torch.equal(ours, reference(exact, line["input_ids"])) for line, ours in zip(lines, logits(small, lines, precision)))


def damage(small, change):
    tensors = load_file(small / "model.safetensors")
    change(tensors)
    save_file(tensors, small / "model.safetensors", metadata={"format": "pt"})


QUERY = "bert.encoder.layer.1.attention.self.query.weight"
DAMAGED = {
    "scales missing": (lambda t: t.pop(QUERY + "_scale"), "missing, but the weight is in 8 bits"),
    "scales of another length": (lambda t: t.update({QUERY + "_scale": t[QUERY + "_scale"][:5].clone()}), "expected F32 [64]"),
    "scales of another type": (lambda t: t.update({QUERY + "_scale": t[QUERY + "_scale"].half()}), "expected F32 [64]"),
    "a scale that is not finite": (lambda t: t[QUERY + "_scale"].index_fill_(0, torch.tensor([3]), float("nan")), "_scale[3] is nan"),
    "a negative scale": (lambda t: t[QUERY + "_scale"].index_fill_(0, torch.tensor([0]), -1.0), "_scale[0] is -1"),
    "another shape": (lambda t: t.update({QUERY: t[QUERY][:32].clone()}), "has the shape [32, 64], expected [64, 64]"),
    "an unknown type": (lambda t: t.update({QUERY: t[QUERY].to(torch.int64)}), "is I64, expected F32, F16, BF16 or I8"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_damage_is_named(how, pair, textmill):
    _, small = pair
    change, message = DAMAGED[how]
    damage(small, change)
    done = textmill("predict", small, "good", check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert QUERY in done.stderr and message in done.stderr
