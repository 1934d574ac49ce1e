#!/usr/bin/env python3
"""Writes src/text/unicode_data.inc: the character properties that the pinned `tokenizers` package works with, found by
asking it about every code point (docs/decisions/unicode.md has the reasons).

    .venv/bin/python tools/unicode_data.py            writes the file
    .venv/bin/python tools/unicode_data.py --check    exit status 1 if the file is not what would be written
"""

import sys
import unicodedata
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

OUTPUT = Path(__file__).resolve().parent.parent / "src/text/unicode_data.inc"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by the formula of the standard, section 3.12
nfd = normalizers.NFD().normalize_str


def bert(**steps: bool):
    return normalizers.BertNormalizer(**{"clean_text": False, "handle_chinese_chars": False, "strip_accents": False,
                                         "lowercase": False} | steps).normalize_str


def ranges(members) -> list[tuple[int, int]]:
    found: list[list[int]] = []
    for c in sorted(members):
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return [(a, b) for a, b in found]


def splits(kept: int) -> list[int]:
    """Characters that cut "a?b" into `kept` words: 2 is a space, 3 is punctuation."""
    cut = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    return [c for c in CODE_POINTS if len(cut(f"a{chr(c)}b")) == kept]


def word_characters() -> list[int]:
    """What keeps a single-word token after it from being found."""
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.add_tokens([AddedToken("[X]", single_word=True, normalized=False)])
    return [c for c in CODE_POINTS if 1 not in tokenizer.encode(f"{chr(c)}[X]").ids]


def combining_classes() -> list[tuple[int, int, int]]:
    """(first, last, class). A class never changes once given, so Python's value is right for each character that the
    package's older data knows; it knows a character if it reorders it around one of another class."""
    found: list[list[int]] = []
    for c in CODE_POINTS:
        value = unicodedata.combining(chr(c))
        probe = chr(c) + "\u0334" if value > 1 else "\u0301" + chr(c)
        if value == 0 or nfd(probe) == probe:
            continue
        if found and found[-1][1:] == [c - 1, value]:
            found[-1][1] = c
        else:
            found.append([c, c, value])
    return [(a, b, v) for a, b, v in found]


def lowercase_runs() -> list[tuple[int, int, int, int]]:
    """(first, last, step, difference): each step-th character from first to last becomes itself + difference."""
    lower = normalizers.Lowercase().normalize_str
    runs: list[list[int]] = []
    for c in CODE_POINTS:
        to = lower(chr(c))
        if to == chr(c) or c == 0x130:  # U+0130 is the one that becomes two
            continue
        difference = ord(to) - c
        last = runs[-1] if runs else None
        if last and last[3] == difference and (c - last[1] == last[2] or last[0] == last[1] and c - last[1] <= 2):
            last[1], last[2] = c, c - last[1]
        else:
            runs.append([c, c, 1, difference])
    return [(a, b, s, d) for a, b, s, d in runs]


def decompositions() -> list[tuple[int, ...]]:
    return [(c, *map(ord, nfd(chr(c)))) for c in CODE_POINTS if c not in HANGUL and nfd(chr(c)) != chr(c)]


def table(name: str, declaration: str, rows: list[tuple[int, ...]], comment: str) -> list[str]:
    """Rows as C++ initializers, as many on a line as fit."""
    lines = ["", f"// {comment}", f"constexpr {declaration} {name}[] = {{"]
    line = "   "
    for row in rows:
        item = " {" + ",".join(f"{v:#x}" if v > 9 else str(v) for v in row) + "},"
        if len(line) + len(item) > 118:
            lines.append(line)
            line = "   "
        line += item
    return lines + [line, "};"]


def generate() -> str:
    mark = bert(strip_accents=True)
    lines = [f"// Made by tools/unicode_data.py from tokenizers {tokenizers.__version__}. Do not edit.",
             "// The properties come from the Unicode Character Database (NOTICE)."]
    lines += table("kRemoved", "Range", ranges(c for c in CODE_POINTS if bert(clean_text=True)(chr(c)) == ""),
                   "What clean_text removes: Cc, Cf, Co (Unicode 8) but tab, line feed and carriage return; U+FFFD.")
    lines += table("kSpace", "Range", ranges(splits(2)), "White_Space.")
    lines += table("kPunctuation", "Range", ranges(splits(3)), "P* (Unicode 8) and ASCII's $+<=>^`|~.")
    lines += table("kMark", "Range", ranges(c for c in CODE_POINTS if mark(chr(c)) == ""),
                   "Mn (Unicode 8), and the seven characters that decompose into nothing else.")
    lines += table("kWord", "Range", ranges(word_characters()), "\\w of regular expressions (Unicode 16).")
    lines += table("kCombiningClass", "ClassRange", combining_classes(), "Classes other than 0 (Unicode 9).")
    lines += table("kLowercase", "CaseRange", lowercase_runs(), "Simple lowercase (Unicode 17), but U+0130's.")
    lines += table("kDecomposition", "Decomposition", decompositions(), "Full canonical decompositions (Unicode 9), but Hangul's.")
    return "\n".join(lines) + "\n"


def main() -> int:
    text = generate()
    if "--check" in sys.argv[1:]:
        return 0 if OUTPUT.read_text() == text else 1
    OUTPUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
