#!/usr/bin/env python3
"""Fails on an include that src/layers.txt does not allow, and on the few other rules of structure."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"

# Headers that are slow to compile or belong to one folder: where they may appear.
BANNED = [
    (re.compile(r"boost/(asio|beast)"), re.compile(r"http/.*\.(cc|inc)$|http/detail/")),
    (re.compile(r"boost/json"), re.compile(r"format/")),
    (re.compile(r"sqlite3\.h"), re.compile(r"store/.*\.cc$")),
    (re.compile(r"toml\+\+"), re.compile(r"format/.*\.cc$")),
    (re.compile(r"^archive(_entry)?\.h$"), re.compile(r"format/archive")),
    (re.compile(r"openssl/"), re.compile(r"(base|http)/.*\.(cc|h)$")),
    (re.compile(r"(immintrin|x86intrin)\.h"), re.compile(r"nn/kernel/|text/|base/")),
]
# What models may see of nn (architecture, section 1).
MODELS_NN = {"nn/record.h", "nn/weights.h"}


def read_layers() -> dict[str, tuple[int, set[str]]]:
    layers: dict[str, tuple[int, set[str]]] = {}
    for line in (SRC / "layers.txt").read_text().splitlines():
        if match := re.match(r"(\d+) +(\w+) *: *(.*)", line):
            rank, folder, deps = int(match[1]), match[2], match[3].split()
            layers[folder] = (rank, set(layers) if deps == ["*"] else set(deps) | {"base"})
    return layers


def check_file(path: Path, folder: str, layers) -> list[str]:
    problems = []
    rank, allowed = layers[folder]
    relative = path.relative_to(SRC).as_posix()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+([<"])([^>"]+)', line)
        if not match:
            continue
        where, header = f"src/{relative}:{number}", match[2]
        for banned, home in BANNED:
            if banned.search(header) and not home.search(relative):
                problems.append(f"{where}: <{header}> may only be included in {home.pattern}")
        if match[1] == "<":
            continue
        target = header.split("/")[0]
        if target not in layers:
            problems.append(f"{where}: \"{header}\" is not a path from src/")
        elif target != folder and (target not in allowed or layers[target][0] >= rank):
            problems.append(f"{where}: {folder} (rank {rank}) may not include {target} (rank {layers[target][0]})")
        elif folder == "models" and target == "nn" and header not in MODELS_NN and not relative.endswith("_test.cc"):
            problems.append(f"{where}: models may include only {', '.join(sorted(MODELS_NN))} of nn")
    return problems


def main() -> int:
    layers = read_layers()
    problems = []
    for folder in sorted(p for p in SRC.iterdir() if p.is_dir()):
        if folder.name not in layers:
            problems.append(f"src/{folder.name}: no line in src/layers.txt")
            continue
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".h", ".cc", ".inc"):
                problems += check_file(path, folder.name, layers)
        readme = folder / "README.md"
        if not readme.exists():
            problems.append(f"src/{folder.name}: no README.md")
        elif len(readme.read_text().splitlines()) > 40:
            problems.append(f"src/{folder.name}/README.md: more than 40 lines")
        if f"`{folder.name}/`" not in (SRC / "README.md").read_text():
            problems.append(f"src/README.md: no line for {folder.name}/")
    print("\n".join(problems) or f"layers: {len(layers)} folders in order")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
