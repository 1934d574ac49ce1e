#!/usr/bin/env python3
"""`make bench`: textmill and its peers side by side, in one run, alternating; medians and ratios as a table.

    run.py [ROW ...] [--rounds 3] [--list]

TEXTMILL_BUILD names the build folder, TEXTMILL_DATA the data sets. A row prints what it measured and its goal; nothing
here fails on a slow machine."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import control
import embeddings
import endpoints
import int8
import quantization
from encoders import Bench, OnnxRuntime, Server, data, generator, minilm, mrpc_sentences, peer, write_bodies
from table import BUILD, HERE, TABLE, TEXTMILL, resident, row, run_json


def finetune(bench: Bench, name: str, model: Path, rows: int, goal: str) -> None:
    train = bench.first_rows(rows)
    ours, theirs = [], []
    for _ in range(bench.rounds):
        run = bench.train("finetune", model, train, "--epochs", 1, "--batch-size", 32, "--learning-rate", "5e-5", "--precision", "bf16")
        ours.append(run["samples_per_second"])
        theirs.append(peer("finetune", "--model", model, "--train", train, "--batch-size", 32)["samples_per_second"])
    a, b = statistics.median(ours), statistics.median(theirs)
    share = bench.of_peak(model, "bf16", a * run["train"]["tokens"] / run["train"]["rows"], training=True)
    row(name, f"{a:.1f} samples/s; {share}", f"{b:.1f} samples/s", f"{a / b:.2f}x (goal {goal})")


def finetune_minilm(bench: Bench) -> None:
    """fine-tune MiniLM-L6 on MRPC, bf16, batch 32"""
    finetune(bench, "fine-tune MiniLM-L6, bf16, batch 32", minilm(), 640, ">= 2.5x, stretch 3.5x")


def finetune_bert(bench: Bench) -> None:
    """fine-tune BERT-base shapes on MRPC, bf16, batch 32"""
    finetune(bench, "fine-tune BERT-base, bf16, batch 32", bench.bert_base(), 160, ">= 1.8x, stretch 2.5x")


def mrpc_quality(bench: Bench) -> None:
    """MRPC dev accuracy and F1 with MiniLM, 3 seeds, 4 epochs, lr 5e-5, batch 16 (long)"""
    ours, theirs = [], []
    recipe = ["--epochs", "4", "--batch-size", "16", "--learning-rate", "5e-5", "--seed"]
    for seed in ("1", "2", "3"):
        bench.train("quality", minilm(), data("mrpc", "glue_train.tsv"), "--precision", "bf16", *recipe, seed)
        scores = run_json(TEXTMILL, "evaluate", bench.work / "quality", "--data", data("mrpc", "glue_dev.tsv"),
                          "--text", "#1 String", "--text-pair", "#2 String", "--label", "Quality")
        ours.append((scores["accuracy"], scores["positive_f1"]))
        done = peer("finetune", "--model", minilm(), "--train", data("mrpc", "glue_train.tsv"), "--dev", data("mrpc", "glue_dev.tsv"), *recipe, seed)
        theirs.append((done["accuracy"], done["f1"]))
        print(f"   seed {seed}: ours {ours[-1]}, peer {theirs[-1]}", flush=True)
    a, b = ([statistics.median(x[i] for x in scores) for i in (0, 1)] for scores in (ours, theirs))
    row("MRPC dev, MiniLM, median of 3 seeds", f"accuracy {a[0]:.3f}, F1 {a[1]:.3f}", f"accuracy {b[0]:.3f}, F1 {b[1]:.3f}",
        f"{100 * (a[0] - b[0]):+.1f} / {100 * (a[1] - b[1]):+.1f} points (goal: not below by more than 1)")


def bert_latency(bench: Bench) -> None:
    """BERT-base shapes, 128 tokens, batch 1, HTTP included, f32 and bf16"""
    ids = [101] + [1996 + i for i in range(126)] + [102]
    bodies = write_bodies(bench.work / "one.jsonl", [ids])
    with OnnxRuntime(bench.bert_base_onnx()) as ort:
        ort.seconds([ids], 5)
        for precision, goal in (("f32", ">= 1.0x, stretch 1.3x"), ("bf16", ">= 1.8x, stretch 2.5x")):
            ours, theirs = [], []
            with Server(bench.bert_base(), "--precision", precision) as server:
                for i in range(4 * bench.rounds):
                    ours.append(server.load(bodies, 1, 5, 3 if i == 0 else 1))
                    theirs.append(1000 * statistics.median(ort.seconds([ids], 6)[1:]))
            a, b = statistics.median(r["p50_ms"] for r in ours), statistics.median(theirs)
            share = bench.of_peak(bench.bert_base(), precision, len(ids) / a * 1e3)
            row(f"BERT-base, 128 tokens, batch 1, {precision}, over HTTP", f"{a:.1f} ms; {share}; {generator(ours)}",
                f"{b:.1f} ms (f32, in process)", f"{b / a:.2f}x (goal {goal})")


def mixed_lengths(bench: Bench) -> None:
    """BERT-base f32, MRPC sentences of mixed lengths, 8 clients"""
    sequences = mrpc_sentences()
    bodies = write_bodies(bench.work / "mixed.jsonl", sequences)
    ours, theirs = [], []
    with OnnxRuntime(bench.bert_base_onnx()) as ort, Server(bench.bert_base(), "--precision", "f32") as server:
        for _ in range(bench.rounds):
            ours.append(server.load(bodies, 8, len(sequences), 8))
            theirs.append(ort.per_second(sequences, 8))
    a, b = statistics.median(r["per_second"] for r in ours), statistics.median(theirs)
    share = bench.of_peak(bench.bert_base(), "f32", a * sum(map(len, sequences)) / len(sequences))
    row("BERT-base f32, MRPC sentences, 8 clients", f"{a:.1f} /s; {share}; {generator(ours)}", f"{b:.1f} /s (batch 8, padded)", f"{a / b:.2f}x (goal >= 1.5x, stretch 2.0x)")


def start_up(bench: Bench) -> None:
    """serve: start to first /ping, resident memory; --help; size"""
    ready, memory = [], []
    body = write_bodies(bench.work / "short.jsonl", [[101, 2023, 2003, 102]])
    bench.train("served", minilm(), bench.first_rows(32), "--epochs", 1)
    model = bench.work / "served"
    for _ in range(2 * bench.rounds):
        with Server(model) as server:
            server.load(body, 2, 20, 0)
            ready.append(server.ready * 1000)
            memory.append(resident(server.process.pid) / 1e6)
    weights = json.loads(subprocess.run([TEXTMILL, "describe", model], check=True, stdout=subprocess.PIPE).stdout)["parameters"] * 2 / 1e6
    row("serve MiniLM (bf16): start to first /ping 200", f"{statistics.median(ready):.0f} ms", "-", "(goal <= 100 ms)")
    row("the same: resident after 20 answers", f"{statistics.median(memory):.0f} MB", "-", f"(goal <= {1.2 * weights + 30:.0f} MB)")
    helps = []
    for _ in range(10):
        begin = time.perf_counter()
        subprocess.run([TEXTMILL, "--help"], check=True, stdout=subprocess.DEVNULL)
        helps.append(1000 * (time.perf_counter() - begin))
    stripped = bench.work / "textmill.stripped"
    subprocess.run(["strip", "-o", stripped, TEXTMILL], check=True)
    row("textmill --help", f"{statistics.median(helps):.1f} ms", "-", "(goal <= 10 ms)")
    row("the stripped executable", f"{stripped.stat().st_size / 1e6:.1f} MB", "-", "(goal <= 40 MB)")


def thread_bytes(bench: Bench) -> None:
    """training: the weights' bytes on 1, 2 and 3 threads"""
    import hashlib

    train, digests = bench.first_rows(160), set()
    for threads in (1, 2, 3):
        bench.train("threads", minilm(), train, "--epochs", 1, "--batch-size", 16, threads=threads)
        digests.add(hashlib.sha256((bench.work / "threads" / "model.safetensors").read_bytes()).hexdigest())
    row("training: the weights' bytes on 1, 2 and 3 threads", "equal" if len(digests) == 1 else "DIFFERENT", "-", "(goal: equal)")


def tokenizer(bench: Bench) -> None:
    """WordPiece, one thread, ids and offsets, each line of the 10 MB English file once"""
    done = run_json(sys.executable, HERE / "tokenizer.py", "--rounds", bench.rounds)
    row("WordPiece, one thread", f"{done['ours']:.1f} MB/s", f"{done['peer']:.1f} MB/s", f"{done['ratio']:.1f}x (goal >= 6x, stretch 15x)")


def log_events(bench: Bench) -> None:
    """log events: 10 million taken in requests of 10,000 signed beforehand, then 100 of them found by a fresh process"""
    done = run_json(sys.executable, HERE / "logs.py", "--textmill", TEXTMILL)
    row("log events taken per second (--sync full)", f"{done['events_per_second']:,.0f}",
        f"- (the generator: {100 * done['generator_cpu_share']:.0f} % of a core)", "(goal >= 200,000)")
    row("FilterLogEvents, a word with 100 hits in 10 million", f"{done['search_seconds']:.2f} s",
        f"- ({done['peak_resident_mb']} MB resident at most)", "(goal <= 2 s)")


def training_jobs(bench: Bench) -> None:
    """training jobs of a program that does nothing; a server that holds 100,000 of them"""
    done = run_json(sys.executable, HERE / "jobs.py", "--textmill", TEXTMILL)
    row("CreateTrainingJob of a program that exits at once, to Completed", f"{done['create_to_completed_s']:.3f} s", "-", "(goal <= 0.3 s, stretch 0.2 s)")
    row("jobs of a trivial program a second, 4 at a time", f"{done['jobs_per_second']:.0f}", "-", "(goal >= 20)")
    row("100,000 stored jobs, p99: List page / Describe / reconciler's pass",
        f"{done['list_p99_ms']:.1f} / {done['describe_p99_ms']:.1f} / at most {done['pass_p99_ms_at_most']:.0f} ms", "-", "(goal <= 20 ms each)")


ROWS = [finetune_minilm, finetune_bert, mrpc_quality, bert_latency, mixed_lengths, tokenizer, start_up, thread_bytes, log_events, training_jobs,
        *int8.ROWS, *quantization.ROWS, *embeddings.ROWS, *control.ROWS, *endpoints.ROWS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="the rows to measure (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--work", type=Path, help="where made models are kept (default: a temporary folder)")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{f.__name__:16} {f.__doc__}" for f in ROWS))
        return
    if unknown := set(args.rows) - {f.__name__ for f in ROWS}:
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}; --list names them")
    with tempfile.TemporaryDirectory(prefix="textmill-bench-") as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(work, args.rounds)
        for measure in ROWS:
            if not args.rows or measure.__name__ in args.rows:
                bench.measure_peaks()
                print(f"{measure.__name__}: {measure.__doc__}", flush=True)
                measure(bench)
    print("\n| work | textmill | peer | reached |\n|---|---|---|---|")
    for cells in TABLE:
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
