"""Weights in few bits: other programs' layouts read to the bit, ours written so that they read them, and the algorithms, each
against a transcription in NumPy; bitsandbytes runs live. AutoAWQ and GPTQModel have no loader that this machine can run."""

import json
import subprocess

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.numpy import load_file, save_file

from golden.test_logits import logits, reference, sequences  # noqa: F401
from tiny_models import reviews, tiny_bert

F = pytest.importorskip("bitsandbytes.functional")
ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # AWQ: the channel in nibble i


@pytest.fixture
def weights(golden, tmp_path):
    def run(algorithm, tensors, bits, group, layout, shape, check=True):
        save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, tmp_path / "in")
        done = subprocess.run([golden("weights"), algorithm, tmp_path / "in", *map(str, (bits, group, layout, *shape))], capture_output=True, text=True)
        if not check:
            return done
        assert done.returncode == 0, done.stderr
        return load_file(tmp_path / "in.out")

    return run


def words(values, bits):
    """[n, m] -> int32 [n * bits / 32, m], value by value along the first axis; in 3 bits 32 values fill 3 words."""
    values = values.astype(np.uint64)
    if bits != 3:
        per = 32 // bits
        shifts = (bits * np.arange(per, dtype=np.uint64))[None, :, None]
        return (values.reshape(-1, per, values.shape[1]) << shifts).sum(1).astype(np.uint32).view(np.int32)
    out = []
    for v in values.reshape(-1, 32, values.shape[1]):
        a = sum(v[i] << np.uint64(3 * i) for i in range(10)) | (v[10] & np.uint64(3)) << np.uint64(30)
        b = v[10] >> np.uint64(2) | sum(v[11 + i] << np.uint64(3 * i + 1) for i in range(10)) | (v[21] & np.uint64(1)) << np.uint64(31)
        c = v[21] >> np.uint64(1) | sum(v[22 + i] << np.uint64(3 * i + 2) for i in range(10))
        out += [a, b, c]
    return np.stack(out).astype(np.uint32).view(np.int32)


def interleaved(values):
    """[n, m] -> int32 [n, m / 8] as AWQ has it."""
    nibbles = values.reshape(len(values), -1, 8)[:, :, ORDER].astype(np.uint64)
    return (nibbles << (4 * np.arange(8, dtype=np.uint64))).sum(2).astype(np.uint32).view(np.int32)


def stored(layout, bits, values, zeros, scales, g_idx):
    """The tensors of values [out, in], zeros and scales [groups, out]."""
    if layout == "awq":
        return {"qweight": interleaved(values.T), "qzeros": interleaved(zeros), "scales": scales}
    offset = layout == "gptq"
    packed_zeros = words(((zeros - offset) % 2**bits).T, bits).T
    return {"qweight": words(values.T, bits), "qzeros": np.ascontiguousarray(packed_zeros), "scales": scales, "g_idx": g_idx}


LAYOUTS = [("awq", 4), *((layout, bits) for layout in ("gptq", "gptq_v2") for bits in (2, 3, 4, 8))]


@pytest.mark.parametrize("group", [32, 0])
@pytest.mark.parametrize("layout, bits", LAYOUTS)
def test_awq_and_gptq_are_read_to_the_bit(layout, bits, group, weights):
    rng = np.random.default_rng(bits)
    out, cols = 64, 96
    groups = cols // group if group else 1
    values = rng.integers(0, 2**bits, (out, cols))
    zeros = rng.integers(0, 2**bits, (groups, out))
    scales = rng.normal(0, 0.1, (groups, out)).astype(np.float16)
    g_idx = rng.permutation(np.arange(cols) // (group or cols)).astype(np.int32)  # as desc_act leaves it
    if layout == "awq":
        g_idx.sort()
    tensors = {"layer." + name: t for name, t in stored(layout, bits, values, zeros, scales, g_idx).items()}
    expected = scales.astype(np.float32)[g_idx].T * (values - zeros[g_idx].T).astype(np.float32)
    assert np.array_equal(weights("read", tensors, bits, group, layout, (out, cols))["read"], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("shape, storage", [((40, 64), torch.uint8), ((7, 33), torch.uint8), ((40, 64), torch.float16), ((7, 33), torch.float32)])
def test_bitsandbytes_4_bit(kind, nested, dtype, shape, storage, weights):
    torch.manual_seed(1)
    w = torch.randn(shape).to(dtype)
    packed, state = F.quantize_4bit(w, blocksize=64, compress_statistics=nested, quant_type=kind, quant_storage=storage)
    tensors = {"layer.weight": packed, **{"layer.weight." + k: v for k, v in state.as_dict(packed=True).items()}}
    found = weights("read", {k: v.numpy() for k, v in tensors.items()}, 4, 0, "bnb_4bit", shape)["read"]
    # The definition ...
    codes = packed.view(torch.uint8).numpy().ravel()
    codes = np.stack([codes >> 4, codes & 15], -1).ravel()[: w.numel()]
    absmax = tensors["layer.weight.absmax"].numpy()
    if nested:
        absmax = tensors["layer.weight.nested_quant_map"].numpy()[absmax] * tensors["layer.weight.nested_absmax"].numpy().repeat(256)[: len(absmax)]
        absmax = absmax + np.float32(state.offset.item())
    exact = tensors["layer.weight.quant_map"].numpy()[codes] * absmax.repeat(64)[: w.numel()]
    assert np.array_equal(found, torch.from_numpy(exact).to(dtype).float().numpy().reshape(shape))
    # ... and the library, which here and there keeps more or fewer bits on its way.
    theirs = F.dequantize_4bit(packed, state).float().numpy()
    assert np.allclose(found, theirs, rtol=2e-2 if dtype == torch.bfloat16 else 2e-3, atol=1e-6)
    if dtype == torch.float32:
        assert np.abs(found - theirs).max() <= 1e-6


def test_bitsandbytes_8_bit(weights):
    torch.manual_seed(2)
    w = torch.randn(40, 64).half()
    values, scales, _ = torch.ops.bitsandbytes.int8_vectorwise_quant.default(w)
    tensors = {"layer.weight": values.numpy(), "layer.SCB": scales.numpy()}
    found = weights("read", tensors, 8, 0, "bnb_8bit", w.shape)["read"]
    assert np.array_equal(found, F.int8_vectorwise_dequant(values, scales).float().numpy())


# ---- the algorithms


def grid(x, bits):
    """Scale (f16) and zero of each row's values: the least and the largest are the ends, and the zero is 1 at least."""
    most = 2**bits - 1
    low, high = np.minimum(x.min(1), 0).astype(np.float32), np.maximum(x.max(1), 0).astype(np.float32)
    scale = ((high - low) / np.float32(most)).astype(np.float16)
    zero = np.rint(np.divide(-low, scale.astype(np.float32), where=scale > 0, out=np.zeros_like(low)))
    scale = np.where(zero < 1, (high / np.float32(most - 1)).astype(np.float16), scale)
    return scale, np.clip(zero, 1, most).astype(np.int64)


def to_grid(x, scale, zero, bits):
    step = scale.astype(np.float32)[:, None]
    steps = np.rint(np.divide(x, step, where=step > 0, out=np.zeros_like(x)))
    return np.clip(steps + zero[:, None], 0, 2**bits - 1).astype(np.int64)


def rounded(w, bits, group):
    """values [out, in], zeros and scales [groups, out]"""
    parts = [w[:, i : i + group] for i in range(0, w.shape[1], group)]
    grids = [grid(part, bits) for part in parts]
    values = np.concatenate([to_grid(part, *g, bits) for part, g in zip(parts, grids)], 1)
    return values, np.stack([z for _, z in grids]), np.stack([s for s, _ in grids])


def meant(values, zeros, scales, g_idx):
    return scales.astype(np.float32)[g_idx].T * (values - zeros[g_idx].T).astype(np.float32)


def gptq(w, x, bits, group):
    """Frantar et al. 2022, with the largest diagonal first, a column at a time."""
    h = x.astype(np.float64).T @ x
    order = np.argsort(-np.diag(h), kind="stable")
    h, w = h[order][:, order], w[:, order].astype(np.float64)
    n = len(h)
    upper = np.linalg.cholesky(np.linalg.inv(h + 0.01 * np.mean(np.diag(h)) * np.eye(n))).T
    values, zeros, scales = np.empty(w.shape, np.int64), [], []
    for i in range(n):
        if i % group == 0:
            scale, zero = grid(w[:, i : i + group].astype(np.float32), bits)
            scales.append(scale), zeros.append(zero)
        values[:, i] = to_grid(w[:, i : i + 1].astype(np.float32), scale, zero, bits)[:, 0]
        lost = (w[:, i] - scale.astype(np.float64) * (values[:, i] - zero)) / upper[i, i]
        w[:, i + 1 :] -= lost[:, None] * upper[i, i + 1 :]
    back, g_idx = np.empty_like(values), np.empty(n, np.int32)
    back[:, order], g_idx[order] = values, np.arange(n) // group
    return back, np.stack(zeros), np.stack(scales), g_idx


def awq(w, x, bits, group):
    """Lin et al. 2023: the best of 20 exponents; what the weight then means, and its columns' scales."""
    mean, some, best = np.abs(x).mean(0), x[:: -(-len(x) // 512)], None
    for step in range(20):
        scales = np.maximum(mean ** np.float32(step / 20), 1e-4)
        scales = (scales / np.sqrt(scales.max() * scales.min())).astype(np.float32)
        found = meant(*rounded(w * scales, bits, group), np.arange(w.shape[1]) // group) / scales
        error = (((some @ (w - found).T).astype(np.float64)) ** 2).sum()
        if best is None or error < best[0]:
            best = error, found, scales
    return best[1:]


def layer(out, cols, rows=600, seed=0):
    """A weight, and inputs that depend on each other, a few columns far larger than the rest."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, cols // 4)) @ rng.normal(size=(cols // 4, cols)) + 0.5 * rng.normal(size=(rows, cols))
    x *= np.where(rng.random(cols) < 0.05, 15, 1)
    return {"w": rng.normal(0, 0.05, (out, cols)).astype(np.float32), "x": x.astype(np.float32)}


def loss(found, t):
    return np.linalg.norm(t["x"] @ (found - t["w"]).T)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_rounding(bits, weights):
    t = layer(64, 96)
    t["w"][3] = 0
    t["w"][4] = np.abs(t["w"][4])  # no zero among them
    t["w"][5] = -np.abs(t["w"][5])
    values, zeros, scales = rounded(t["w"], bits, 32)
    g_idx = np.arange(96, dtype=np.int32) // 32
    for layout in ("gptq", "gptq_v2") + ("awq",) * (bits == 4):
        found = weights("round", t, bits, 32, layout, (64, 96))
        for name, tensor in stored(layout, bits, values, zeros, scales, g_idx).items():
            assert np.array_equal(found["layer." + name], tensor), (layout, name)
        assert np.array_equal(found["read"], meant(values, zeros, scales, g_idx))
    ragged = weights("round", t, bits, 64, "gptq", (64, 96))["read"]  # a last group of 32
    assert np.array_equal(ragged, meant(*rounded(t["w"], bits, 64), np.arange(96) // 64))


@pytest.mark.parametrize("out, cols, group", [(64, 96, 32), (200, 256, 128), (32, 64, 0)])
def test_gptq_is_its_twin_and_loses_less_than_rounding(out, cols, group, weights):
    t = layer(out, cols)
    found = weights("gptq", t, 4, group, "gptq", (out, cols))
    values, zeros, scales, g_idx = gptq(t["w"], t["x"], 4, group or cols)
    twin = meant(values, zeros, scales, g_idx)
    assert np.array_equal(found["layer.g_idx"], g_idx)
    # A tie that f32 rounds to the other side changes what follows in its row: rare, and no worse.
    assert np.mean(found["read"] != twin) < 0.02
    assert loss(found["read"], t) == pytest.approx(loss(twin, t), rel=0.01)
    assert loss(found["read"], t) < 0.75 * loss(weights("round", t, 4, group, "gptq", (out, cols))["read"], t)


@pytest.mark.parametrize("out, cols, group", [(64, 96, 32), (200, 256, 128)])
def test_awq_is_its_twin_and_loses_less_than_rounding(out, cols, group, weights):
    t = layer(out, cols, rows=1500)
    found = weights("awq", t, 4, group, "gptq", (out, cols))
    twin, scales = awq(t["w"], t["x"], 4, group)
    assert np.allclose(found["layer.column_scale"], scales, rtol=1e-5)
    assert np.mean(~np.isclose(found["read"], twin, rtol=1e-3, atol=1e-6)) < 0.01
    assert loss(found["read"], t) < 0.8 * loss(weights("round", t, 4, group, "gptq", (out, cols))["read"], t)


def unpacked(t, name, layout, bits, group):
    """What the layer's tensors mean, shift by shift."""
    w, z, s = (t[f"{name}.{part}"] for part in ("qweight", "qzeros", "scales"))
    shifts, mask = bits * np.arange(32 // bits), 2**bits - 1
    zeros = (z[:, :, None] >> shifts & mask).reshape(len(z), -1)
    if layout == "awq":
        undo = np.argsort(ORDER)
        values = (w[:, :, None] >> shifts & mask)[:, :, undo].reshape(len(w), -1).T
        zeros = zeros.reshape(len(z), -1, 8)[:, :, undo].reshape(len(z), -1)
        return meant(values, zeros, s, np.arange(len(w)) // group)
    values = (w[:, None, :] >> shifts[:, None] & mask).reshape(-1, w.shape[1]).T
    found = meant(values, zeros + 1, s, t[f"{name}.g_idx"])
    return found / t[f"{name}.column_scale"] if f"{name}.column_scale" in t else found


# ---- whole folders


def quantized_folder(folder, config, tensors_of):
    """A classifier whose body's linear layers lie as tensors_of(weight) gives them, and transformers' model of the same numbers."""
    tiny_bert(folder, ["neg", "pos"])
    model = tf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tensors = load_file(folder / "model.safetensors")
    for name, module in model.bert.encoder.named_modules():
        if isinstance(module, torch.nn.Linear):
            name = "bert.encoder." + name
            del tensors[name + ".weight"]
            parts, values = tensors_of(module.weight.data)
            tensors |= {f"{name}.{part}": np.ascontiguousarray(t) for part, t in parts.items()}
            module.weight.data = values.float()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.loads((folder / "config.json").read_text()) | {"quantization_config": config}
    (folder / "config.json").write_text(json.dumps(text))
    return model


def as_groups(layout, bits=4, group=32):
    def tensors_of(w):
        values, zeros, scales = rounded(w.numpy(), bits, group)
        g_idx = np.arange(w.shape[1], dtype=np.int32) // group
        return stored(layout, bits, values, zeros, scales, g_idx), torch.from_numpy(meant(values, zeros, scales, g_idx))

    return tensors_of


def as_4_bit(w):
    packed, state = F.quantize_4bit(w, blocksize=64, compress_statistics=True, quant_type="nf4")
    parts = {"weight": packed} | {"weight." + k: v for k, v in state.as_dict(packed=True).items()}
    return {k: v.numpy() for k, v in parts.items()}, F.dequantize_4bit(packed, state)


def as_8_bit(w):
    values, scales, _ = torch.ops.bitsandbytes.int8_vectorwise_quant.default(w.half())
    return {"weight": values.numpy(), "SCB": scales.numpy()}, F.int8_vectorwise_dequant(values, scales)


FOLDERS = {
    "awq": ({"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": 32, "zero_point": True}, as_groups("awq")),
    "awq of AutoAWQ": ({"quant_method": "awq", "version": "gemm", "w_bit": 4, "q_group_size": 32, "zero_point": True}, as_groups("awq")),
    "gptq": ({"quant_method": "gptq", "bits": 8, "group_size": 32, "desc_act": False, "sym": False}, as_groups("gptq", 8)),
    "gptq_v2": ({"quant_method": "gptq", "bits": 3, "group_size": 32, "checkpoint_format": "gptq_v2"}, as_groups("gptq_v2", 3)),
    "bitsandbytes-4bit": ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, as_4_bit),
    "bitsandbytes-8bit": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, as_8_bit),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_other_programs(name, tmp_path, logits, textmill):  # noqa: F811
    model = quantized_folder(tmp_path, *FOLDERS[name])
    lines = list(sequences())
    for ids, found in zip(lines, logits(tmp_path, [{"input_ids": ids} for ids in lines])):
        assert torch.allclose(found, reference(model, ids), atol=1e-4)
    assert json.loads(textmill("describe", tmp_path).stdout)["quantization"] == name.split()[0].removesuffix("_v2")


LAYER = "bert.encoder.layer.1.output.dense."
BROKEN = {
    "a part missing": ("gptq", lambda t, c: t.pop(LAYER + "qzeros"), "qzeros: missing"),
    "another shape": ("awq", lambda t, c: t.update({LAYER + "scales": t[LAYER + "scales"][:2]}), "is F16 [2, 64], expected"),
    "another group size": ("awq", lambda t, c: c.update(group_size=64), "expected I32 [1, 8]"),
    "a group that is none": ("gptq", lambda t, c: t.update({LAYER + "g_idx": t[LAYER + "g_idx"] + 3}), "is 4, expected a group from 0 to 3"),
    "bits that are none": ("gptq", lambda t, c: c.update(bits=5), "2, 3, 4 or 8"),
    "another kernel's layout": ("awq", lambda t, c: c.update(version="gemv"), '"gemm"'),
    "an unknown method": ("awq", lambda t, c: c.update(quant_method="hqq"), '"bitsandbytes"'),
    "neither 4 nor 8": ("bitsandbytes-8bit", lambda t, c: c.update(load_in_8bit=False), "either load_in_4bit"),
    "row scales missing": ("bitsandbytes-8bit", lambda t, c: t.pop(LAYER + "SCB"), "SCB: missing"),
    "a state of another shape": ("bitsandbytes-4bit", lambda t, c: t.update({LAYER + "weight.quant_state.bitsandbytes__nf4": np.frombuffer(
        b'{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [1, 2]}', np.uint8)}), "[64, 128]"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_damage_is_named(how, tmp_path, textmill):
    name, change, message = BROKEN[how]
    quantized_folder(tmp_path, *FOLDERS[name])
    tensors, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    change(tensors, config["quantization_config"])
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = textmill("predict", tmp_path, "good", check=False)
    assert done.returncode == 2 and done.stdout == "" and message in done.stderr, done.stderr


WRITTEN = {
    ("w8", "textmill"): {"quant_method": "textmill", "format_version": 2, "scheme": "w8", "bits": 8, "group_size": 32},
    ("w4", "textmill"): {"quant_method": "textmill", "format_version": 2, "scheme": "w4", "bits": 4, "group_size": 32},
    ("gptq", "textmill"): {"quant_method": "textmill", "format_version": 2, "scheme": "gptq", "bits": 4, "group_size": 32},
    ("awq", "textmill"): {"quant_method": "textmill", "format_version": 2, "scheme": "awq", "bits": 4, "group_size": 32},
    ("w8", "gptq"): {"quant_method": "gptq", "bits": 8, "group_size": 32, "desc_act": False, "sym": False, "checkpoint_format": "gptq"},
    ("gptq", "gptq"): {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": False, "checkpoint_format": "gptq"},
    ("w4", "awq"): {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True},
}


@pytest.mark.parametrize("scheme, layout", WRITTEN)
def test_folders_that_the_command_writes(scheme, layout, tmp_path, logits, textmill):  # noqa: F811
    """The configuration, what the tensors mean, and that the engine runs exactly that."""
    tiny_bert(tmp_path / "model", ["neg", "pos"])
    reviews(tmp_path / "data.tsv", 150)
    small = tmp_path / "small"
    done = textmill("quantize", tmp_path / "model", "--data", tmp_path / "data.tsv", "--scheme", scheme, "--layout", layout, "--group-size", 32,
                    "--max-loss", 1, "--output", small)
    result = json.loads(done.stdout)
    assert result["met"] and result["trials"][-1]["in_floating_point"] == []
    config = json.loads((small / "config.json").read_text())["quantization_config"]
    plain = [config.pop(name, None) for name in ("modules_to_not_convert", "dynamic")]
    assert config == WRITTEN[scheme, layout]
    if layout != "textmill":
        text = json.dumps(plain).replace("\\", "")
        assert "bert.pooler.dense" in text and "classifier" in text and "encoder" not in text

    model = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tensors = load_file(small / "model.safetensors")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "encoder" in name:
            module.weight.data = torch.from_numpy(unpacked(tensors, name, layout, config["bits"], 32).copy())
        elif isinstance(module, torch.nn.Embedding) and layout == "textmill":
            module.weight.data = torch.from_numpy(tensors[name + ".weight"] * tensors[name + ".weight_scale"][:, None])
    lines = list(sequences())
    for ids, found in zip(lines, logits(small, [{"input_ids": ids} for ids in lines])):
        assert torch.allclose(found, reference(model, ids), atol=1e-4)
    scores = json.loads(textmill("evaluate", small, "--data", tmp_path / "data.tsv", "--precision", "bf16").stdout)
    assert scores["count"] == 150
    assert json.loads(textmill("describe", small).stdout)["quantization"] == (scheme if layout == "textmill" else layout)
