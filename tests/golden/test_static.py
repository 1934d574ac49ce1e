"""8 bits with one step for all rows, and SmoothQuant: the ranges and what the engine then computes, against NumPy and torch."""

import json
import subprocess

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from golden.test_logits import logits, reference, sequences  # noqa: F401
from golden.test_quantized import quantized
from tiny_models import reviews, tiny_bert


def largest(x):
    return x.max()


def percentile(x):
    return np.sort(x)[int(0.9999 * (len(x) - 1))]


def divergence(x):
    bins = np.bincount(np.minimum((x / x.max() * np.float32(2048)).astype(int), 2047), minlength=2048).astype(float)
    best = (np.inf, 0)
    for kept in range(128, 2049):
        inside = bins[:kept]
        p, q = inside.copy(), np.full(kept, 1e-9)
        p[-1] += bins[kept:].sum()
        for step in range(128):
            part = slice(step * kept // 128, (step + 1) * kept // 128)
            filled = inside[part] > 0
            if filled.any():
                q[part][filled] = inside[part].sum() / filled.sum() / inside.sum()
        p /= p.sum()
        best = min(best, (np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])), kept))
    return best[1] / 2048 * x.max()


def squared_error(x):
    bins = np.bincount(np.minimum((x / x.max() * np.float32(2048)).astype(int), 2047), minlength=2048)
    middles = (np.arange(2048) + 0.5) * float(x.max()) / 2048

    def error(hundredths):
        step = float(x.max()) * hundredths / 100 / 127
        return np.sum(bins * (middles - np.minimum(np.rint(middles / step), 127) * step) ** 2)

    return min(range(1, 101), key=error) / 100 * x.max()


RANGES = [largest, percentile, divergence, squared_error]


@pytest.mark.parametrize("shape", ["normal", "heavy tails", "gelu"])
@pytest.mark.parametrize("method", RANGES)
def test_ranges(method, shape, golden, tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 64)) if shape != "heavy tails" else rng.standard_t(3, size=(300, 64))
    x = (np.maximum(x, 0.02 * x) if shape == "gelu" else x).astype(np.float32)
    save_file({"x": torch.from_numpy(x)}, tmp_path / "in")
    done = subprocess.run([golden("weights"), f"range{RANGES.index(method)}", tmp_path / "in", "8", "0", "gptq", "1", "1"], capture_output=True, text=True)
    expected = method(np.abs(x).ravel())
    assert float(done.stdout) == pytest.approx(expected, rel=1e-5)
    if method is not largest and shape == "heavy tails":
        assert expected < 0.95 * np.abs(x).max()


class Linear8(torch.nn.Module):
    def __init__(self, linear, t, name):
        super().__init__()
        self.values, self.scales, self.bias = t[name + ".weight"].double(), t[name + ".weight_scale"], linear.bias
        self.columns, self.step = t.get(name + ".weight_input_scale"), t.get(name + ".weight_input_step")

    def forward(self, x):
        x = x if self.columns is None else x / self.columns
        values, scale = quantized(x) if self.step is None else (torch.round(x * (1 / self.step)).clamp(-127, 127), self.step)
        return (values.double() @ self.values.T).float() * scale * self.scales + self.bias


@pytest.mark.parametrize("scheme", ["w8a8-minmax", "w8a8-percentile", "w8a8-kl", "w8a8-mse", "w8a8-smooth"])
def test_logits_are_those_of_the_artifact(scheme, tmp_path, textmill, logits):  # noqa: F811
    tiny_bert(tmp_path / "model", ["neg", "pos"])
    reviews(tmp_path / "data.tsv", 150)
    small = tmp_path / "small"
    done = textmill("quantize", tmp_path / "model", "--data", tmp_path / "data.tsv", "--scheme", scheme, "--max-loss", "1", "--output", small)
    result = json.loads(done.stdout)
    assert result["trials"][-1]["in_floating_point"] == []
    assert json.loads((small / "config.json").read_text())["quantization_config"] == {"quant_method": "textmill", "format_version": 2, "scheme": scheme}
    tensors = load_file(small / "model.safetensors")
    model = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    exact = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    for name, module in list(model.named_modules()):
        for child, layer in list(module.named_children()):
            path = f"{name}.{child}"
            if isinstance(layer, torch.nn.Linear) and path + ".weight_scale" in tensors:
                assert (path + ".weight_input_scale" in tensors) == (scheme == "w8a8-smooth")
                assert (path + ".weight_input_step" in tensors) == (scheme != "w8a8-smooth")
                setattr(module, child, Linear8(layer, tensors, path))
            elif isinstance(layer, torch.nn.Embedding):
                layer.weight.data = tensors[path + ".weight"] * tensors[path + ".weight_scale"][:, None]
    lines = list(sequences())
    for precision, tolerance in (("f32", 5e-3), ("bf16", 5e-2)):
        for ids, found in zip(lines, logits(small, [{"input_ids": ids} for ids in lines], precision)):
            assert torch.allclose(found, reference(model, ids), atol=tolerance), precision
    assert torch.allclose(reference(model, lines[2]), reference(exact, lines[2]), atol=0.5)


def test_damaged_steps_are_named(tmp_path, textmill):
    tiny_bert(tmp_path / "model", ["neg", "pos"])
    reviews(tmp_path / "data.tsv", 60)
    textmill("quantize", tmp_path / "model", "--data", tmp_path / "data.tsv", "--scheme", "w8a8-mse", "--max-loss", "1", "--output", tmp_path / "small")
    path = tmp_path / "small/model.safetensors"
    tensors = load_file(path)
    name = "bert.encoder.layer.0.output.dense.weight_input_step"
    for value, message in ((torch.tensor([0.0]), "[0] is 0, expected a finite number above 0"), (torch.ones(2), "is F32 [2], expected F32 [1]")):
        save_file(tensors | {name: value}, path, metadata={"format": "pt"})
        done = textmill("predict", tmp_path / "small", "good", check=False)
        assert done.returncode == 2 and name in done.stderr and message in done.stderr
