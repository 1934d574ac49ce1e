"""The rows of 8-bit encoders: BERT-base's shapes beside ONNX Runtime's dynamic int8."""

import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import time

from encoders import Bench, OnnxRuntime, Server, generator, mrpc_sentences, write_bodies
from table import BUILD, HERE, resident, row, run_json

LENGTHS = {16: (2.2, 2.6, 3.5), 64: (1.7, 1.9, 2.7), 128: (1.6, 1.8, 2.3), 512: (1.6, 1.85, 2.2)}  # must, stretch; of bf16


def int8_products(bench: Bench) -> None:
    """int8 products at 128 tokens on cold weights, a layer's four shapes, as a share of the peak"""
    text = subprocess.run([BUILD / "bench" / "bench_kernels", "2", "forward int8 128x"], check=True, capture_output=True, text=True).stdout
    rates = {shape: float(rate) for shape, rate in re.findall(r"int8 128x(\d+x\d+) .* median +([\d.]+) G/s", text)}
    shapes = [rates["768x768"], rates["768x768"], rates["768x3072"], rates["3072x768"]]  # q, k, v as one; output; up; down
    mean, peak = math.exp(statistics.fmean(map(math.log, shapes))), run_json(BUILD / "bench" / "bench_peaks", "2")["int8_gops"][1]
    row("int8 products, 128 tokens, cold weights", f"{mean:.0f} GOP/s", f"peak {peak:.0f} GOP/s", f"{100 * mean / peak:.0f} % (goal >= 76 %, stretch 84 %)")


def int8_latency(bench: Bench) -> None:
    """BERT-base int8 and bf16, batch 1, 16 to 512 tokens, HTTP included"""
    for model, precision, onnx, form in ((bench.bert_base_int8(), "bf16", bench.bert_base_int8_onnx(), "int8"),
                                         (bench.bert_base(), "bf16", bench.bert_base_onnx(), "bf16")):
        with OnnxRuntime(onnx) as ort, Server(model, "--precision", precision) as server:
            for tokens, (must, stretch, bf16) in LENGTHS.items():
                ids = [101, *(1996 + i for i in range(tokens - 2)), 102]
                bodies = write_bodies(bench.work / "one.jsonl", [ids])
                calls = max(5, 512 // tokens)  # a tenth of a second and more: neither side is measured while it wakes up
                ort.seconds([ids], 3)
                ours, theirs = [], []
                for i in range(4 * bench.rounds):
                    time.sleep(0.3)  # ONNX Runtime's threads spin on after its last call, on both cores
                    ours.append(server.load(bodies, 1, calls, 3 if i == 0 else 1))
                    theirs.append(1000 * statistics.median(ort.seconds([ids], calls + 1)[1:]))
                a, b = statistics.median(r["p50_ms"] for r in ours), statistics.median(theirs)
                share = bench.of_peak(bench.bert_base(), form, tokens / a * 1e3)
                goal = f">= {must}x, stretch {stretch}x" if form == "int8" else f">= {bf16}x"
                row(f"BERT-base {form}, {tokens} tokens, batch 1, over HTTP", f"{a:.2f} ms; {share}; {generator(ours)}",
                    f"{b:.2f} ms ({'int8' if form == 'int8' else 'f32'}, in process)", f"{b / a:.2f}x (goal {goal})")


def int8_mixed(bench: Bench) -> None:
    """BERT-base int8, MRPC sentences of mixed lengths, 8 and 32 clients"""
    sequences = mrpc_sentences(96)
    bodies = write_bodies(bench.work / "mixed.jsonl", sequences)
    with OnnxRuntime(bench.bert_base_int8_onnx()) as ort, Server(bench.bert_base_int8()) as server:
        for clients in (8, 32):
            ours, padded, single = [], [], []
            for _ in range(bench.rounds):
                ours.append(server.load(bodies, clients, 2 * len(sequences), clients))
                padded.append(ort.per_second(sequences, 8))
                single.append(ort.per_second(sequences, 1))
            a, b, c = map(statistics.median, ([r["per_second"] for r in ours], padded, single))
            share = bench.of_peak(bench.bert_base(), "int8", a * sum(map(len, sequences)) / len(sequences))
            row(f"BERT-base int8, MRPC sentences, {clients} clients", f"{a:.1f} /s; {share}; {generator(ours)}", f"{b:.1f} /s (batch 8, padded); {c:.1f} /s (one a call)",
                f"{a / b:.2f}x (goal >= 2.3x, stretch 2.9x); {a / c:.2f}x (goal >= 1.7x, stretch 1.95x)")


def int8_memory(bench: Bench) -> None:
    """BERT-base int8: resident memory after a request of 128 tokens, start to ready"""
    ids = [101, *(1996 + i for i in range(126)), 102]
    bodies = write_bodies(bench.work / "one.jsonl", [ids])
    with OnnxRuntime(bench.bert_base_int8_onnx()) as ort:
        ort.seconds([ids], 3)
        peer, ready, ours = ort.resident(), [], 0
        for _ in range(3):
            with Server(bench.bert_base_int8()) as server:
                ready.append(1000 * server.ready)
                server.load(bodies, 1, 5, 1)
                ours = resident(server.process.pid)
    row("BERT-base int8, resident", f"{ours / 1e6:.0f} MB", f"{peer / 1e6:.0f} MB", f"{ours / peer:.2f}x (goal <= 0.4x)")
    row("BERT-base int8, start to ready", f"{statistics.median(ready):.0f} ms", "-", "goal <= 100 ms")


def int8_open_loop(bench: Bench) -> None:
    """80 % of capacity, open loop, mixed lengths: p99 beside an ideal single queue with the same service times"""
    sequences = mrpc_sentences(200)
    bodies, schedule = write_bodies(bench.work / "mixed.jsonl", sequences), bench.work / "schedule"
    with Server(bench.bert_base_int8()) as server:

        def alone() -> list[float]:
            """Seconds of each sequence, asked one after the other."""
            taken = server.load(bodies, 1, len(sequences), 20, "--latencies", 1)["latencies_ms"]
            return [ms / 1000 for ms in taken[-20 % len(sequences):] + taken[: -20 % len(sequences)]]  # the warm-up came first

        rng, ratios, ours, ideal, before = random.Random(3), [], [], [], alone()
        for _ in range(2 * bench.rounds):
            now, arrivals = 0.0, []
            for _ in range(3 * len(sequences)):
                now += rng.expovariate(0.8 / statistics.fmean(before))
                arrivals.append(now)
            schedule.write_text("\n".join(map(str, arrivals)))
            ours.append(server.load(bodies, 64, 1, 0, "--schedule", schedule)["p99_ms"])
            after = alone()  # a machine that others use is now faster, now slower: the queue has the service times around it
            service, free, waits = [(a + b) / 2 for a, b in zip(before, after)], 0.0, []
            for i, arrival in enumerate(arrivals):
                free = max(free, arrival) + service[i % len(service)]
                waits.append(free - arrival)
            ideal.append(1000 * sorted(waits)[int(0.99 * len(waits))])
            ratios.append(ours[-1] / ideal[-1])
            before = after
    row("BERT-base int8, 80 % of capacity, open loop: p99", f"{statistics.median(ours):.0f} ms", f"{statistics.median(ideal):.0f} ms (ideal single queue)",
        f"{statistics.median(ratios):.2f}x (goal <= 1.2x)")


def int8_neighbour(bench: Bench) -> None:
    """one busy neighbour pinned to one of two cores: throughput beside the quiet one, and beside ONNX Runtime's"""
    with OnnxRuntime(bench.bert_base_int8_onnx()) as ort, Server(bench.bert_base_int8()) as server:
        for tokens, goal in ((16, 0.40), (128, 0.50), (512, 0.50)):
            ids = [101, *(1996 + i for i in range(tokens - 2)), 102]
            bodies, count = write_bodies(bench.work / "one.jsonl", [ids]), max(4, 1000 // tokens)
            quiet, busy, theirs = [], [], []
            for _ in range(bench.rounds):
                quiet.append(server.load(bodies, 1, count, 2)["per_second"])
                neighbour = subprocess.Popen(["taskset", "-c", str(max(os.sched_getaffinity(0))), sys.executable, "-c", "while True: pass"])
                busy.append(server.load(bodies, 1, count, 2)["per_second"])
                theirs.append(1 / statistics.median(ort.seconds([ids], count)))
                neighbour.kill()
                neighbour.wait()
            a, b, c = map(statistics.median, (busy, quiet, theirs))
            row(f"BERT-base int8, {tokens} tokens, one busy neighbour", f"{a:.1f} /s (quiet {b:.1f} /s)", f"{c:.1f} /s",
                f"{a / b:.2f} of quiet (goal >= {goal:.2f}); {a / c:.2f}x (goal >= 2x)")


def soak(bench: Bench) -> None:
    """ten minutes of mixed load at 1.5 times capacity: tests/e2e/test_serve_soak.py"""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-s", HERE.parent / "tests" / "e2e" / "test_serve_soak.py"],
                          env=os.environ | {"TEXTMILL_SOAK_SECONDS": "600"}, capture_output=True, text=True)
    line = next((line for line in done.stdout.splitlines() if "requests/s for" in line), done.stdout[-300:])
    row("10 minutes at 1.5 times capacity", line, "-", "nothing but answers and clear refusals" if done.returncode == 0 else "FAILED")


ROWS = [int8_products, int8_latency, int8_mixed, int8_memory, int8_open_loop, int8_neighbour, soak]
