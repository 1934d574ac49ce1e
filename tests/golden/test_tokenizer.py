"""Ids, type ids and offsets equal those of the `tokenizers` package: on every line of the shared text, for every BERT
vocabulary there, and on random texts for random tokenizers (normalizers, added tokens, templates, truncation)."""

import copy
import json
import os
import random
import struct
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from transformers import AutoTokenizer

ROOT = Path(__file__).resolve().parents[2]
SOAK = "TEXTMILL_SOAK" in os.environ
MODELS = ["bert-base-uncased", "bert-base-cased", "bert-base-chinese", "bert-base-multilingual-cased"]


class Request:
    def __init__(self, first, second=None, max_length=None, special=True):
        self.first, self.second, self.max_length, self.special = first, second, max_length, special

    def pack(self) -> bytes:
        first, second = self.first.encode(), (self.second or "").encode()
        return struct.pack("<4i", len(first), -1 if self.second is None else len(second),
                           -1 if self.max_length is None else self.max_length, self.special) + first + second

    def reference(self, tokenizer: Tokenizer, **truncation):
        """None where the package refuses."""
        if self.max_length is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(self.max_length, **truncation)
        try:
            got = tokenizer.encode(self.first, self.second, add_special_tokens=self.special)
        except Exception as error:
            if not str(error).startswith("Truncation error"):
                raise
            return None
        return got.ids, got.type_ids, got.offsets


@pytest.fixture(scope="module")
def ours(golden):
    """ours(folder, requests): (ids, type ids, offsets) of each, None where it is refused."""

    def encode(folder, requests):
        done = subprocess.run([golden("tokenizer"), folder], input=b"".join(r.pack() for r in requests), capture_output=True)
        assert done.returncode == 0, done.stderr
        numbers, at, answers = np.frombuffer(done.stdout, np.int32), 0, []
        while at < len(numbers):
            n = int(numbers[at])
            if n < 0:
                answers.append(None)
                at += 1
                continue
            ids, types, offsets = np.split(numbers[at + 1 : at + 1 + 4 * n], [n, 2 * n])
            answers.append((ids.tolist(), types.tolist(), list(map(tuple, offsets.reshape(-1, 2).tolist()))))
            at += 1 + 4 * n
        assert len(answers) == len(requests)
        return answers

    return encode


def differences(requests, tokenizer, answers, **truncation) -> list:
    return [(r.first, r.second, r.max_length, r.special) for r, got in zip(requests, answers)
            if got != r.reference(tokenizer, **truncation)]


def unpacked(path: Path) -> str:
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True).stdout.decode()
    return path.read_bytes().decode()


@pytest.fixture(scope="module")
def lines(data):
    """Every line of the shared text."""
    files = sorted(data("text_english").iterdir()) + sorted(data("text_multilingual").iterdir())
    texts = []
    for path in files:
        for line in unpacked(path).split("\n"):
            if ".jsonl" in path.name and line:
                texts += [value for value in json.loads(line).values() if isinstance(value, str)]
            else:
                texts.append(line)
    texts += json.loads(data("tokenizer_conformance", "blns.json").read_text())
    texts += [json.loads(line)["text"] for line in open(data("tokenizer_conformance", "llamacpp_vocab_tests.jsonl"))]
    assert len(texts) > 100_000
    return texts


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    """model(name): a folder as we load it, and the package's tokenizer of the same."""

    def load(name):
        source = data("tokenizers", name)
        if (source / "tokenizer.json").exists():
            return source, Tokenizer.from_file(str(source / "tokenizer.json"))
        lowercase = "cased" not in name
        folder = tmp_path_factory.mktemp(name)
        (folder / "vocab.txt").write_bytes((source / "vocab.txt").read_bytes())
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
        return folder, BertWordPieceTokenizer(str(source / "vocab.txt"), lowercase=lowercase)._tokenizer

    return load


@pytest.mark.parametrize("name", MODELS)
def test_every_line(ours, model, lines, name):
    folder, tokenizer = model(name)
    tokenizer.no_truncation()
    answers, wrong = ours(folder, [Request(line) for line in lines]), []
    for begin in range(0, len(lines), 4096):
        batch = lines[begin : begin + 4096]
        wrong += [line for line, want, got in zip(batch, tokenizer.encode_batch(batch), answers[begin:])
                  if got != (want.ids, want.type_ids, want.offsets)]
    assert wrong == []


def test_pairs_and_truncation(ours, model, lines):
    folder, tokenizer = model("bert-base-uncased")
    choice = random.Random(1)
    requests = [Request(choice.choice(lines), choice.choice([None, choice.choice(lines)]),
                        choice.choice([None, 3, 8, 15, 16, 33, 128]), choice.random() < 0.8) for _ in range(10_000)]
    assert differences(requests, tokenizer, ours(folder, requests)) == []


STRATEGIES = {"longest_first": "LongestFirst", "only_first": "OnlyFirst", "only_second": "OnlySecond"}


def in_file(strategy, direction):
    return {"direction": direction.capitalize(), "max_length": 512, "strategy": STRATEGIES[strategy], "stride": 2}


@pytest.mark.parametrize("direction", ["left", "right"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_truncation_of_the_file(ours, data, lines, tmp_path, strategy, direction):
    file = json.loads(data("tokenizers", "bert-base-uncased", "tokenizer.json").read_text())
    text = json.dumps(file | {"truncation": in_file(strategy, direction)})
    (tmp_path / "tokenizer.json").write_text(text)
    choice = random.Random(3)
    requests = [Request(choice.choice(lines), choice.choice([None, choice.choice(lines)]),
                        choice.choice([3, 4, 8, 15, 16, 33, 128]), choice.random() < 0.8) for _ in range(3000)]
    requests += [Request("one two three four five six"[:first], "seven eight nine ten"[:second], length, special)
                 for first in (0, 3, 7, 13, 27) for second in (0, 5, 11, 20) for length in range(3, 14) for special in (True, False)]
    answers = ours(tmp_path, requests)
    # The package's stride only adds pieces of what was cut off, or panics where it is not below what stays.
    assert differences(requests, Tokenizer.from_str(text), answers, strategy=strategy, direction=direction, stride=0) == []
    assert (None in answers) == (strategy != "longest_first")


@pytest.mark.parametrize("side", [None, "left", "right"])
@pytest.mark.parametrize("name, direction", [("vocab.txt", None), *(("tokenizer.json", d) for d in (None, "left", "right"))])
def test_side_of_truncation_is_transformers_s(ours, data, tmp_path, name, direction, side):
    source = data("tokenizers", "bert-base-uncased")
    if name == "vocab.txt":
        (tmp_path / name).write_bytes((source / name).read_bytes())
    else:
        truncation = direction and in_file("longest_first", direction)
        (tmp_path / name).write_text(json.dumps(json.loads((source / name).read_text()) | {"truncation": truncation}))
    config = {"tokenizer_class": "BertTokenizer"} | ({"truncation_side": side} if side else {})
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    reference = AutoTokenizer.from_pretrained(tmp_path)
    first, second, wanted, requests = "one two three four five six", "seven eight nine ten", [], []
    for pair in (None, second):
        for length in range(3, 15):
            got = reference(first, pair, truncation=True, max_length=length, return_offsets_mapping=True)
            wanted.append((got["input_ids"], got["token_type_ids"], got["offset_mapping"]))
            requests.append(Request(first, pair, length))
    assert ours(tmp_path, requests) == wanted


def test_expected_ids(ours, model, data):
    """Ids that another project recorded, without special tokens."""
    folder, _ = model("bert-base-uncased")
    rows = [json.loads(line) for line in open(data("tokenizer_conformance", "llamacpp_vocab_tests.jsonl"))]
    answers = ours(folder, [Request(row["text"], special=False) for row in rows])
    assert [ids for ids, _, _ in answers] == [row["ids"]["bert-bge"] for row in rows]


def test_vocab_txt_is_tokenizer_json(ours, data, tmp_path):
    source = data("tokenizers", "bert-base-uncased")
    (tmp_path / "vocab.txt").write_bytes((source / "vocab.txt").read_bytes())
    requests = [Request("Ünaffable [MASK] 龍 text", "and [UNK]\u200b another")]
    assert ours(tmp_path, requests) == ours(source, requests)


def test_unicode_data_is_the_package_s():
    done = subprocess.run([sys.executable, ROOT / "tools" / "unicode_data.py", "--check"])
    assert done.returncode == 0, "the package's Unicode data changed: run tools/unicode_data.py"


NASTY = [[*range(32, 127)], [*range(256)], [c for c in range(0x20000) if unicodedata.combining(chr(c))],
         [c for c in range(0x30000) if unicodedata.decomposition(chr(c))[:1].isalnum()], [*range(0x3040, 0x3100)],
         [*range(0x4E00, 0x4E80)], [*range(0xAC00, 0xD7A4)], [*range(0x2000, 0x2070)], [*range(0x300, 0x370)],
         [*range(0x400, 0x460)], [*range(0xF900, 0xFB00)], [*range(0x1F600, 0x1F650)], [*range(0x1E000, 0x1E02B)],
         [0xAD, 0x200B, 0xFEFF, 0xFFFD, 0xE000, 0x85, 0xA0, 0x130, 0x212A, 0x3A3, 0xDF, 0x1E9E, 0x344, 0xF73, 0xF81, 0x2260]]
ADDED = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "[X]", "new york", "Foo", "été", " [Z] ", "龍", "a", "\u3000",
         "e\u0301", "[", " x"]


def random_text(choice: random.Random, words) -> str:
    pools, parts = choice.sample(NASTY, choice.randint(1, 4)), []
    for _ in range(choice.randint(0, 12) if choice.random() < 0.9 else choice.randint(80, 260)):
        kind = choice.random()
        if kind < 0.1:
            parts.append(choice.choice(words).replace("##", ""))
        elif kind < 0.15:
            parts.append(choice.choice(ADDED + ["[SEP", "  ", "\t", "[UNK]x"]))
        elif kind < 0.18:
            parts.append(chr(choice.choice([choice.randrange(0xD800), choice.randrange(0xE000, 0x110000)])))
        else:
            parts.append(chr(choice.choice(choice.choice(pools))))
    return "".join(parts)


def random_tokenizer(choice: random.Random, base: dict, words) -> dict:
    spec = copy.deepcopy(base)
    flag = lambda chance: choice.random() < chance
    spec["normalizer"] |= {name: flag(0.7) for name in ("clean_text", "handle_chinese_chars", "lowercase")}
    spec["normalizer"]["strip_accents"] = choice.choice([None, True, False])
    if flag(0.05):
        spec["normalizer"] = None
    tokens = ADDED[:5] + [w for w in words if w and flag(0.1)] + ["a", "b", "##a", "##b", "e", "##e", "new", "york", "##\u0301"]
    vocab = {token: id for id, token in enumerate(dict.fromkeys(tokens))}
    spec["model"] |= {"vocab": vocab, "max_input_chars_per_word": choice.choice([100, 100, 1, 2, 5]),
                      "continuing_subword_prefix": choice.choice(["##"] * 6 + ["", "@@", "e"]),
                      "unk_token": "a" if flag(0.3) else "[UNK]"}
    for special in spec["post_processor"]["special_tokens"].values():
        special["ids"] = [vocab[special["id"]]]
    normalized = flag(0.5)
    spec["added_tokens"] = [
        {"id": vocab.get(content, 0), "content": content, "single_word": flag(0.3), "lstrip": flag(0.3), "rstrip": flag(0.3),
         "normalized": normalized and flag(0.3), "special": flag(0.5)}
        for content in ADDED if flag(0.8 if content in vocab and content[0] == "[" else 0.25)]
    return spec


@pytest.mark.parametrize("seed", range(200 if SOAK else 8))
def test_random_texts_and_tokenizers(ours, data, tmp_path, seed):
    choice = random.Random(seed)
    base = json.loads(data("tokenizers", "bert-base-uncased", "tokenizer.json").read_text())
    words = data("tokenizers", "bert-base-multilingual-cased", "vocab.txt").read_text().split("\n")
    truncation = {"strategy": choice.choice(list(STRATEGIES)), "direction": choice.choice(["left", "right"])}
    text = json.dumps(random_tokenizer(choice, base, words) | {"truncation": in_file(**truncation)})
    (tmp_path / "tokenizer.json").write_text(text)
    requests = [Request(random_text(choice, words), random_text(choice, words) if choice.random() < 0.2 else None,
                        choice.choice([None, None, None, 3, 4, 5, 9, 17, 64]), choice.random() < 0.5) for _ in range(2000)]
    assert differences(requests, Tokenizer.from_str(text), ours(tmp_path, requests), **truncation) == []
