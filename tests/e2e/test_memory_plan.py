"""What `describe` says a server will have in memory is what it then has."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.model_server import ModelServer

SCHEMES = ["w8a8-dynamic", "w4"]


@pytest.fixture(scope="module")
def in_few_bits(textmill, minilm, tmp_path_factory):
    """By scheme: 8 bits, and weights alone in 4, which products widen a panel at a time."""
    folder = tmp_path_factory.mktemp("memory")
    pairs = [("a good film", "a great film", 5), ("it rains", "the sun shines", 1), ("a dog", "a cat", 3), ("yes", "no", 2)]
    (folder / "pairs.tsv").write_text("text\tpair\tlabel\n" + "".join(f"{a}\t{b}\t{like}\n" for a, b, like in pairs))
    for scheme in SCHEMES:
        textmill("quantize", minilm, "--data", folder / "pairs.tsv", "--text", "text", "--text-pair", "pair", "--label", "label",
                 "--max-loss-absolute", 1, "--scheme", scheme, "--output", folder / scheme)
    return folder


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("scheme", [None, *SCHEMES])
def test_serving_takes_what_the_plan_says(build, textmill, minilm, in_few_bits, precision, scheme, tmp_path):
    folder = in_few_bits / scheme if scheme else minilm
    described = json.loads(textmill("describe", folder).stdout)
    length, sequences = described["max_length"], described["memory"]["sequences"]
    vocabulary = list(range(described["vocabulary"]))
    batches = [[vocabulary[at : at + length] for at in range(first, min(first + sequences * length, len(vocabulary)), length)]
               for first in range(0, len(vocabulary), sequences * length)]
    for file in folder.iterdir():  # a folder of its own, as the server keeps packed weights in it
        (tmp_path / file.name).symlink_to(file)
    with ModelServer(build, tmp_path, "--precision", precision, "--max-batch-tokens", sequences * length) as server:
        for batch in [*batches, [vocabulary[:length]] * sequences]:  # every row of the table is used once; the last is the largest
            server.json({"inputs": batch}, path="/embed")
        measured = server.resident()
    assert measured == pytest.approx(described["memory"]["serve"][precision], rel=0.10), f"{measured / 1e6:.1f} MB"


@pytest.mark.parametrize("clients, texts, words", [(16, 8, 150), (1, 512, 8)])
def test_many_at_once_take_no_more(build, textmill, in_few_bits, clients, texts, words):
    """What the threads of many requests have freed is the system's again."""
    folder = in_few_bits / "w8a8-dynamic"
    planned = json.loads(textmill("describe", folder).stdout)["memory"]["serve"]["bf16"]
    vocabulary = [word for word in (folder / "vocab.txt").read_text().split() if word.isalpha()]
    bodies = [{"inputs": [" ".join(random.Random(i * texts + j).choices(vocabulary, k=words)) for j in range(texts)]} for i in range(4 * clients)]
    with ModelServer(build, folder) as server, ThreadPoolExecutor(clients) as pool:
        for answer in pool.map(lambda body: server.json(body, path="/embed"), bodies):
            assert len(answer) == texts
        measured = server.resident()
    assert measured <= 1.10 * planned, f"{measured / 1e6:.1f} of {planned / 1e6:.1f} MB"


def test_weights_of_4_bits_take_few_bytes(textmill, minilm, in_few_bits):
    packed = [json.loads(textmill("describe", folder).stdout)["memory"]["serve"]["bf16"] for folder in (minilm, in_few_bits / "w4")]
    assert packed[1] < 0.6 * packed[0]
