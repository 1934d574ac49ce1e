"""Mixed load at 1.5 times what the server can do, beside a noisy neighbour: nothing but answers and clear refusals, the
answers' bytes those of an idle server, memory flat. A minute; an hour in the long form; TEXTMILL_SOAK_SECONDS says otherwise."""

import asyncio
import collections
import json
import multiprocessing
import os
import random
import re
import time

import pytest

from tests.model_server import ModelServer
from tiny_models import reviews, tiny_bert

SECONDS = int(os.environ.get("TEXTMILL_SOAK_SECONDS") or (3600 if os.environ.get("TEXTMILL_SOAK") else 60))
POISON = [(b"{", 400), (b'{"inputs": "\xff"}', 400), (b'{"inputs": 3}', 422), (b'{"instances": [{"input_ids": [2, -1]}]}', 422),
          (b'{"instances": [{"input_ids": [2, 9, 3], "attention_mask": [1, 0, 1]}]}', 422), (b'{"inputs": [' + b'"a",' * 500 + b'"a"]}', 413)]


def request(body: bytes) -> bytes:
    return b"POST /invocations HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def good_bodies(count=60):
    """Requests of 1 to 12 sequences of 2 to 250 tokens; few are long, as in life."""
    rng = random.Random(1)
    sequences = lambda: [[2, *(rng.randrange(5, 60) for _ in range(min(250, int(rng.lognormvariate(3.2, 0.9)) + 1))), 3]
                         for _ in range(rng.randint(1, 12))]
    return [json.dumps({"instances": [{"input_ids": ids} for ids in sequences()]}).encode() for _ in range(count)]


async def ask(port: int, body: bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request(body))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        return int(head.split()[1]), await reader.readexactly(length)
    finally:
        writer.close()


async def leave(port: int, body: bytes, after: float):
    """Goes in the middle of its request, or before its answer."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    whole = request(body)
    writer.write(whole[: len(whole) // 2] if after < 0.01 else whole)
    await writer.drain()
    await asyncio.sleep(after)
    writer.close()


async def capacity(port: int, bodies) -> float:
    """Requests a second that five clients get answered: what they ask together, 12 sequences each, fits the queue of 64."""
    begin, todo = time.perf_counter(), iter(bodies * 3)

    async def client():
        for body in todo:
            assert (await ask(port, body))[0] == 200

    await asyncio.gather(*(client() for _ in range(5)))
    return 3 * len(bodies) / (time.perf_counter() - begin)


async def soak(server, seconds: float) -> dict:
    bodies, rng = good_bodies(), random.Random(2)
    idle = [(await ask(server.port, body))[1] for body in bodies]
    rate = 1.5 * await capacity(server.port, bodies)
    counts, wrong, memory, running = collections.Counter(), [], [], set()

    async def good(i):
        status, answer = await ask(server.port, bodies[i])
        counts[status] += 1
        if status == 200 and answer != idle[i]:
            wrong.append((i, answer[:200]))
        if status not in (200, 429) or (status == 429 and b"the queue is full" not in answer):
            wrong.append((status, answer[:200]))

    async def poison(body, expected):
        status, answer = await ask(server.port, body)
        counts["poison"] += 1
        if status != expected:
            wrong.append((body[:50], status, answer[:200]))

    begin = time.perf_counter()
    end, next_at, next_look = begin + seconds, begin, begin
    while (now := time.perf_counter()) < end:
        if now >= next_look:
            memory.append(server.resident())
            next_look = now + seconds / 200
            if len(memory) > 20 and not counts[429]:
                rate *= 1.1  # the machine has become faster since its capacity was measured
        kind, i = rng.random(), rng.randrange(len(bodies))
        if kind < 0.05:
            counts["left"] += 1
            task = asyncio.ensure_future(leave(server.port, bodies[i], rng.random() * 0.05))
        else:
            task = asyncio.ensure_future(poison(*rng.choice(POISON)) if kind < 0.1 else good(i))
        running.add(task)
        task.add_done_callback(running.discard)
        next_at += rng.expovariate(rate)  # when the next one comes does not depend on answers
        await asyncio.sleep(max(0, next_at - time.perf_counter()))
    await asyncio.gather(*list(running))
    return {"rate": rate, "seconds": seconds, "counts": counts, "wrong": wrong, "memory": memory}


def busy(stop):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    while not stop.is_set():
        sum(range(100_000))


@pytest.fixture(scope="module")
def quantized(textmill, tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak")
    tiny_bert(folder / "model", ["neg", "pos"], hidden_size=256, num_hidden_layers=4, intermediate_size=1024, max_position_embeddings=256)
    textmill("quantize", folder / "model", "--data", reviews(folder / "rows.tsv", 60), "--max-loss", "1", "--output", folder / "quantized")
    return folder / "quantized"


def test_overload(build, quantized):
    stop = multiprocessing.get_context("fork").Event()
    neighbour = multiprocessing.get_context("fork").Process(target=busy, args=(stop,))
    with ModelServer(build, quantized, "--max-queue", "64", "--max-length", "256") as server:
        neighbour.start()
        try:
            result = asyncio.run(soak(server, SECONDS))
        finally:
            stop.set()
            neighbour.join()
        assert server.alive()
    counts, memory = result["counts"], result["memory"]
    settled = memory[len(memory) // 10 :]
    growth = max(settled) - settled[0]
    print(f"{result['rate']:.0f} requests/s for {SECONDS} s: {dict(counts)}; resident {settled[0] / 1e6:.1f} MB, growth {growth / 1e6:.2f} MB")
    assert not result["wrong"], result["wrong"][:5]
    assert counts[200] > 100 and counts[429] > 0 and counts["poison"] and counts["left"], counts
    assert growth <= max(0.01 * settled[0], 4e6), [f"{m / 1e6:.1f}" for m in memory]
