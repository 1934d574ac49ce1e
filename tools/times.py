#!/usr/bin/env python3
"""`make times`: what a developer waits for, in seconds, beside its goal. `.ci/run` prints what the check and the tests took.

    set-up with nothing to do; a clean build of everything, without ccache, in build/timed; and the build after the one file
    was touched whose compilation took longest."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "timed"


def timed(what: str, goal: float, *command) -> None:
    start = time.monotonic()
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, env=os.environ | {"CCACHE_DISABLE": "1"})
    if done.returncode:
        raise SystemExit(f"times: {what}: exit {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    print(f"times: {what}: {time.monotonic() - start:.1f} s (goal {goal:g} s)", flush=True)


def slowest() -> Path:
    spent = {}
    for line in (BUILD / ".ninja_log").read_text().splitlines()[1:]:
        begin, end, _, output, _ = line.split("\t")
        spent[output] = int(end) - int(begin)
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    sources = [c for c in commands if Path(c["file"]).is_relative_to(ROOT / "src")]
    return Path(max(sources, key=lambda c: spent[re.search(r" -o (\S+)", c["command"])[1]])["file"])


def main() -> None:
    groups = ["build", "test", "python:build", "python:tests"]
    subprocess.run([ROOT / "tools/setup.sh", *groups], check=True)
    timed("set-up, the second time", 2, ROOT / "tools/setup.sh", *groups)
    shutil.rmtree(BUILD, ignore_errors=True)
    timed("configure", 60, "cmake", "--preset", "release", "-B", BUILD)
    timed("clean build of everything", 480, "cmake", "--build", BUILD)
    file = slowest()
    file.touch()
    timed(f"build after {file.relative_to(ROOT)} was touched", 20, "cmake", "--build", BUILD)
    shutil.rmtree(BUILD)


if __name__ == "__main__":
    main()
