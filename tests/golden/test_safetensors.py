"""What the safetensors package writes we read, and the other way round; what it refuses, we refuse."""

import json
import shutil
import struct
import subprocess

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8, torch.bool]


@pytest.fixture(scope="module")
def copy(golden):
    """Reads with ours, writes with ours."""
    return lambda *arguments: subprocess.run([golden("safetensors"), *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture()
def tensors():
    torch.manual_seed(1)
    shapes = [(), (1,), (3,), (0, 4), (2, 3), (2, 3, 5)]
    return {f"layer.{dtype}.{i}".replace("torch.", ""): (torch.randn(shape) * 50).to(dtype)
            for dtype in DTYPES for i, shape in enumerate(shapes)}


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and torch.equal(a[n], b[n]) for n in a)


def test_both_ways(copy, tensors, tmp_path):
    save_file(tensors, tmp_path / "theirs", metadata={"note": 'any "text" \u00e9'})
    done = copy(tmp_path / "theirs", tmp_path / "ours")
    assert done.returncode == 0, done.stderr
    assert equal(load_file(tmp_path / "ours"), tensors)
    with safe_open(tmp_path / "ours", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_every_tensor_is_aligned(copy, tensors, tmp_path):
    save_file(tensors, tmp_path / "theirs")
    assert copy(tmp_path / "theirs", tmp_path / "ours").returncode == 0
    raw = (tmp_path / "ours").read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    assert size % 8 == 0
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__" and tensors[name].numel():
            assert entry["data_offsets"][0] % tensors[name].element_size() == 0


def test_shards(copy, tmp_path):
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64))
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    done = copy(tmp_path, tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    assert equal(load_file(tmp_path / "whole"), dict(model.state_dict()))


@pytest.mark.parametrize("limit", [1, 20_000, 10**9])
def test_transformers_reads_shards_of_ours(copy, limit, tmp_path):
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64))
    model.save_pretrained(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    done = copy(tmp_path / "theirs", tmp_path / "ours", limit)
    assert done.returncode == 0, done.stderr
    shutil.copy(tmp_path / "theirs/config.json", tmp_path / "ours")
    files = sorted(f.name for f in (tmp_path / "ours").glob("*.safetensors"))
    count = len(model.state_dict()) if limit == 1 else len(files)
    assert files == ([f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)] if limit < 10**9 else ["model.safetensors"])
    assert (limit == 20_000) == (2 < count < len(model.state_dict())) and (tmp_path / "ours/model.safetensors.index.json").exists() == (limit < 10**9)
    assert equal(BertModel.from_pretrained(tmp_path / "ours").state_dict(), model.state_dict())
    assert copy(tmp_path / "ours", tmp_path / "whole").returncode == 0, "and so do we"


def test_real_weights(copy, minilm, tmp_path):
    assert copy(minilm, tmp_path / "ours").returncode == 0
    assert equal(load_file(tmp_path / "ours"), load_file(minilm / "model.safetensors"))


def damage(file: bytes) -> dict[str, bytes]:
    size = struct.unpack("<Q", file[:8])[0]
    header, data = json.loads(file[8 : 8 + size]), file[8 + size :]

    def build(change, data=data):
        edited = json.loads(json.dumps(header))
        change(edited)
        text = json.dumps(edited).encode()
        return struct.pack("<Q", len(text)) + text + data

    def shift(h, by):
        h["b"]["data_offsets"] = [x + by for x in h["b"]["data_offsets"]]

    return {
        "truncated": file[:-1],
        "longer": file + b"x",
        "cut header": file[: 8 + size // 2],
        "huge length": struct.pack("<Q", 1 << 60) + file[8:],
        "beyond": build(lambda h: shift(h, 400)),
        "overlap": build(lambda h: shift(h, -4)),
        "hole": build(lambda h: shift(h, 4), data + b"1234"),
        "shape": build(lambda h: h["a"].update(shape=[7])),
        "overflow": build(lambda h: h["a"].update(shape=[1 << 60, 1 << 60])),
        "dtype": build(lambda h: h["a"].update(dtype="F31")),
        "no dtype": build(lambda h: h["a"].pop("dtype")),
        "negative": build(lambda h: h["a"].update(data_offsets=[-4, 4])),
    }


def test_what_it_refuses_we_refuse(copy, tmp_path):
    save_file({"a": torch.arange(4.0), "b": torch.arange(6.0)}, tmp_path / "good")
    for name, raw in damage((tmp_path / "good").read_bytes()).items():
        (tmp_path / "bad").write_bytes(raw)
        with pytest.raises(SafetensorError):
            load_file(tmp_path / "bad")
        done = copy(tmp_path / "bad", tmp_path / "out")
        assert done.returncode == 2 and str(tmp_path / "bad") in done.stderr, (name, done)
        assert not (tmp_path / "out").exists()


def test_random_damage_never_gives_other_tensors(copy, tmp_path):
    """Whatever of a damaged header the package still reads, we read the same."""
    save_file({"a": torch.arange(4.0), "bb": torch.arange(6).reshape(2, 3)}, tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    size = struct.unpack("<Q", good[:8])[0]
    random = np.random.default_rng(7)
    read = 0
    for _ in range(150):
        raw = bytearray(good)
        raw[8 + random.integers(size)] = random.choice(list(b'0123456789"{}[],: abFI'))
        (tmp_path / "bad").write_bytes(raw)
        try:
            theirs = load_file(tmp_path / "bad")
        except (SafetensorError, KeyError):
            continue
        done = copy(tmp_path / "bad", tmp_path / "out")
        if done.returncode == 0:
            assert equal(load_file(tmp_path / "out"), theirs), bytes(raw[: 8 + size])
            read += 1
    assert read > 5
