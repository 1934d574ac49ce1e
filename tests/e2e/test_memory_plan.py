"""What `describe` says a server will have in memory is what it then has."""

import json

import pytest

from tests.model_server import ModelServer


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_serving_takes_what_the_plan_says(build, textmill, minilm, precision, tmp_path):
    described = json.loads(textmill("describe", minilm).stdout)
    length, sequences = described["max_length"], described["memory"]["sequences"]
    vocabulary = list(range(described["vocabulary"]))
    batches = [[vocabulary[at : at + length] for at in range(first, min(first + sequences * length, len(vocabulary)), length)]
               for first in range(0, len(vocabulary), sequences * length)]
    for file in minilm.iterdir():  # a folder of its own, as the server keeps packed weights in it
        (tmp_path / file.name).symlink_to(file)
    with ModelServer(build, tmp_path, "--precision", precision, "--max-batch-tokens", sequences * length) as server:
        for batch in [*batches, [vocabulary[:length]] * sequences]:  # every row of the table is used once; the last is the largest
            server.json({"inputs": batch}, path="/embed")
        measured = server.resident()
    assert measured == pytest.approx(described["memory"]["serve"][precision], rel=0.10), f"{measured / 1e6:.1f} MB"
