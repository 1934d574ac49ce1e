"""What quantization loses, and how long the search for it takes: models fine-tuned here, beside ONNX Runtime's dynamic int8 and
Neural Compressor."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

from encoders import Bench, data, minilm, peer
from table import HERE, TEXTMILL, row

SEARCHED = 500  # rows of the comparison with Neural Compressor, whose int8 model is not compiled while it searches


def write_rows(path: Path, rows) -> Path:
    """Of (text, label) or (text, text_pair, label)."""
    names = (("text", "label"), ("text", "text_pair", "label"))
    path.write_text("".join(json.dumps(dict(zip(names[len(r) - 2], r))) + "\n" for r in rows))
    return path


def tsv(*parts: str) -> list[list[str]]:
    return [line.rstrip("\n").split("\t") for line in open(data(*parts), encoding="utf-8-sig")][1:]


def agnews(bench: Bench):
    names = data("agnews", "classes.txt").read_text().split("\n")
    train = [line.rstrip("\n").split("\t") for line in open(data("agnews", "train_10k_description_only.tsv"))]
    test = [(text, names[int(label) - 1]) for label, _, text in csv.reader(open(data("agnews", "test.csv")))]
    return write_rows(bench.work / "agnews-train.jsonl", train), write_rows(bench.work / "agnews-test.jsonl", test), ["--epochs", "2", "--learning-rate", "5e-5", "--max-length", "64"]


def clinc150(bench: Bench):
    full = json.loads(data("clinc150", "data_full.json").read_text())
    train, test = (write_rows(bench.work / f"clinc-{name}.jsonl", [row for part in parts for row in full[part]])
                   for name, parts in (("train", ["train"]), ("test", ["val", "test"])))
    return train, test, ["--epochs", "6", "--learning-rate", "2e-4"]


def sst2(bench: Bench):
    train = write_rows(bench.work / "sst2-train.jsonl", tsv("sst2", "train.tsv")[:12_000])
    test = write_rows(bench.work / "sst2-test.jsonl", tsv("sst2", "train_rest.tsv") + tsv("sst2", "glue_dev.tsv"))
    return train, test, ["--epochs", "2", "--learning-rate", "5e-5"]


def mrpc(bench: Bench):
    pairs = lambda name: [(a, b, label) for label, _, _, a, b in tsv("mrpc", name)]
    return (write_rows(bench.work / "mrpc-train.jsonl", pairs("glue_train.tsv")), write_rows(bench.work / "mrpc-dev.jsonl", pairs("glue_dev.tsv")),
            ["--epochs", "4", "--learning-rate", "5e-5", "--max-length", "128"])


def stsb(bench: Bench, *parts: str) -> Path:
    lines = [line.rstrip("\n").split("\t")[4:7] for part in parts for line in open(data("stsb", f"sts-{part}.csv"), encoding="utf-8")]
    return write_rows(bench.work / f"stsb-{'-'.join(parts)}.jsonl", [(a, b, score) for score, a, b in lines])


def train(bench: Bench, base: Path, rows: Path, flags) -> Path:
    model = bench.work / f"{rows.stem}-{base.name}"
    if not (model / "model.safetensors").exists():
        subprocess.run([TEXTMILL, "train", "--task", "text-classification", "--model", base, "--train", rows, "--output", model, "--batch-size", "32", *flags],
                       check=True, stdout=open(bench.work / f"{model.name}.log", "w"), stderr=subprocess.DEVNULL)
    return model


def quantize(bench: Bench, model: Path, rows: Path, *flags) -> tuple[dict, float, Path]:
    """What it says, its seconds, the folder that it wrote."""
    output = bench.work / f"{model.name}-{rows.stem}-int8"
    subprocess.run(["rm", "-rf", output], check=True)
    begin = time.perf_counter()
    done = subprocess.run([TEXTMILL, "quantize", model, "--data", rows, "--output", output, *flags], check=True, capture_output=True, text=True)
    return json.loads(done.stdout), time.perf_counter() - begin, output


def report(bench: Bench, name: str, metric: str, model: Path, test: Path, *flags, agreement: float | None = None, peer_too: bool = True) -> None:
    result, seconds, _ = quantize(bench, model, test, *flags)
    f32, chosen = result["trials"][0], next(t for t in result["trials"] if t["chosen"])
    theirs = "-"
    if peer_too:
        p = peer("quantizers", "ort", "--model", model, "--data", test)
        theirs = f"ONNX Runtime dynamic: {100 * p['quantized']:.2f} % of {100 * p['f32']:.2f} %, agreement {100 * p['agreement']:.2f} %, {p['seconds']:.0f} s"
    goal = f" (goal >= {agreement} %)" if agreement else ""
    row(f"{name} in 8 bits, {result['rows']} rows", f"{metric} {100 * chosen['value']:.2f} % of {100 * f32['value']:.2f} %; {seconds:.0f} s, {len(result['trials'])} evaluations",
        theirs, f"agreement {100 * chosen['agreement']:.2f} %{goal}; loss at most {100 * chosen['loss_95'][1]:.2f} % (goal <= 1 %); "
        f"{len(chosen['in_floating_point'])} layers in floating point (goal 0); size {chosen['bytes'] / f32['bytes']:.2f}x (goal <= 0.3x)")


def quantize_minilm(bench: Bench) -> None:
    """MiniLM fine-tuned on AG News, CLINC150, SST-2 and MRPC, then quantized: agreement, loss, size, seconds; and STS-B untrained"""
    for name, dataset, agreement in (("AG News", agnews, 99.3), ("CLINC150", clinc150, 98.5), ("SST-2", sst2, None), ("MRPC", mrpc, None)):
        rows, test, flags = dataset(bench)
        report(bench, f"MiniLM on {name}", "accuracy", train(bench, minilm(), rows, flags), test, agreement=agreement)
    report(bench, "MiniLM untrained, STS-B", "Spearman", minilm(), stsb(bench, "dev", "test"), peer_too=False)


def quantize_bert(bench: Bench) -> None:
    """a BERT-base shape grown from MiniLM, trained on SST-2 and quantized (long)"""
    base = bench.work / "bert-grown"
    if not base.exists():
        subprocess.run([sys.executable, HERE / "peers" / "grown_bert.py", minilm(), base], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows, test, _ = sst2(bench)
    report(bench, "BERT-base shape on SST-2 (goal >= 78 %)", "accuracy", train(bench, base, rows, ["--epochs", "1", "--learning-rate", "3e-5"]), test)


def quantize_schemes(bench: Bench) -> None:
    """every scheme on MiniLM and AG News: accuracy, agreement, milliseconds a row, size"""
    rows, test, flags = agnews(bench)
    model = train(bench, minilm(), rows, flags)
    schemes = ["w8a8-dynamic", "w8a8-minmax", "w8a8-percentile", "w8a8-kl", "w8a8-mse", "w8a8-smooth", "w8", "w4", "gptq", "awq"]
    for scheme in schemes:
        result, seconds, _ = quantize(bench, model, test, "--scheme", scheme, "--max-loss", "1")  # the first trial is within
        f32, trial = result["trials"][0], next(t for t in result["trials"] if t["chosen"])
        row(f"AG News, scheme {scheme}", f"accuracy {100 * trial['value']:.2f} % of {100 * f32['value']:.2f} %; {seconds:.0f} s", "-",
            f"agreement {100 * trial['agreement']:.2f} %; {trial['latency_ms']:.2f} ms a row (f32 {f32['latency_ms']:.2f}); size {trial['bytes'] / f32['bytes']:.2f}x")


def quantize_search(bench: Bench) -> None:
    """the search to the goal beside Neural Compressor's, same rows: seconds, evaluations"""
    rows, test, flags = agnews(bench)
    model, few = train(bench, minilm(), rows, flags), bench.work / "agnews-few.jsonl"
    few.write_text("".join(open(test).readlines()[:SEARCHED]))
    theirs = peer("quantizers", "inc", "--model", model, "--data", few)
    result, seconds, _ = quantize(bench, model, few, "--calibration", rows)
    loss = next(t for t in result["trials"] if t["chosen"])["loss"]
    row(f"the search, MiniLM on AG News, {result['rows']} rows", f"{seconds:.1f} s, {len(result['trials'])} evaluations, loss {100 * loss:.2f} %",
        f"Neural Compressor {theirs['seconds']:.0f} s, {theirs['evaluations']} evaluations, loss {100 * (1 - theirs['quantized'] / theirs['f32']):.2f} %",
        f"{seconds / theirs['seconds']:.2f}x (goal <= 0.3x)")


ROWS = [quantize_minilm, quantize_schemes, quantize_search, quantize_bert]
