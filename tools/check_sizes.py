#!/usr/bin/env python3
"""Files stay under about 500 lines, functions under 60 (architecture, rule 11). A longer one needs a line in
tools/sizes.txt that says why: `path reason` for a file, `path:function reason` for a function."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES = 500, 60


def functions(text: str):
    """(name, first line, lines) of each function body at namespace or class level, found by indentation: the
    formatter puts a body's closing brace in the column where its head began."""
    head = None
    for number, line in enumerate(text.splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        if head and line.rstrip() in (" " * head[2] + "}", " " * head[2] + "};"):
            yield head[0], head[1], number - head[1] + 1
            head = None
        elif not head and indent <= 2 and line.rstrip().endswith("{"):
            match = re.search(r"([\w~]+)\s*\(", line)
            is_head = not re.match(r"\s*(namespace|class|struct|enum|if|for|while|switch|TEST\w*)\b", line)
            if match and is_head and "__attribute__" not in line and not re.search(r"\[[&=\w, ]*\]|\{.+\{|\($", line):
                head = (match[1], number, indent)


def main() -> int:
    allowed = {}
    listed = ROOT / "tools" / "sizes.txt"
    for line in listed.read_text().splitlines() if listed.exists() else []:
        if line and not line.startswith("#"):
            name, _, reason = line.partition(" ")
            allowed[name] = reason
    files = subprocess.run(["git", "ls-files", "*.cc", "*.h", "*.py", "*.inc"], cwd=ROOT, capture_output=True,
                           text=True, check=True).stdout.split()
    problems, used = [], set()

    def report(key: str, message: str):
        used.add(key)
        if not allowed.get(key):
            problems.append(message)

    for name in files:
        path = ROOT / name
        if not path.exists():
            continue
        text = path.read_text()
        lines = len(text.splitlines())
        if lines > FILE_LINES:
            report(name, f"{name}: {lines} lines (about {FILE_LINES} is the bound)")
        if name.endswith((".cc", ".h", ".inc")):
            for function, number, length in functions(text):
                if length > FUNCTION_LINES:
                    report(f"{name}:{function}", f"{name}:{number}: {function} has {length} lines ({FUNCTION_LINES} is a screen)")
    problems += [f"tools/sizes.txt: {key} is not too long (any more)" for key in allowed if key not in used]
    print("\n".join(problems) or f"sizes: {len(files)} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
