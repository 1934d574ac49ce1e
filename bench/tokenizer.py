#!/usr/bin/env python3
"""WordPiece (bert-base-uncased), one thread, ids and offsets on both sides, each line of the 10 MB English file once:
textmill and the `tokenizers` package in turn. Prints one JSON object: MB/s of each (medians), and the ratio.

    tokenizer.py [--rounds 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers  # noqa: E402 (reads the variable)

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("TEXTMILL_BUILD", HERE.parent / "build" / "release"))


def reference(tokenizer: tokenizers.Tokenizer, lines: list[str]) -> tuple[float, int]:
    """Seconds and tokens."""
    for line in lines[:100]:
        tokenizer.encode(line)
    begin, tokens = time.perf_counter(), 0
    for line in lines:
        tokens += len(tokenizer.encode(line))  # offsets are made with the ids
    return time.perf_counter() - begin, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    data = Path(os.environ["TEXTMILL_DATA"])
    folder = data / "tokenizers" / "bert-base-uncased"
    text = subprocess.run(["zstd", "-dcq", data / "text_english" / "imdb_unsup_10mb.txt.zst"], capture_output=True, check=True).stdout
    lines = text.decode().rstrip("\n").split("\n")
    megabytes = sum(len(line.encode()) for line in lines) / 1e6
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ours, theirs = [], []
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        for _ in range(rounds):
            done = json.loads(subprocess.run([BUILD / "bench" / "bench_tokenizer", folder, file.name], capture_output=True, check=True).stdout)
            seconds, tokens = reference(tokenizer, lines)
            if done["tokens"] != tokens:
                raise SystemExit(f"{done['tokens']} tokens, the peer has {tokens}")
            ours.append(megabytes / done["seconds"])
            theirs.append(megabytes / seconds)
    a, b = statistics.median(ours), statistics.median(theirs)
    print(json.dumps({"ours": a, "peer": b, "ratio": a / b}))


if __name__ == "__main__":
    main()
