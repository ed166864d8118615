"""Writes core/unicode_tables.h from this Python's unicodedata: python core/unicode_tables.py > core/unicode_tables.h

The file that results is kept, so that the same text gives the same features whatever Python builds or runs luce. Code
points that its Unicode version does not know are symbols.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator

END = 0x110000
UNSPACED = [  # scripts that put no spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3031, 0x3035), (0x3041, 0x30FF),
    (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
]  # fmt: skip
HANGUL = [(0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97C), (0xAC00, 0xD7A3), (0xD7B0, 0xD7FB)]
IGNORED = [(0xFE00, 0xFE0F), (0xE0100, 0xE01EF), (0x1F3FB, 0x1F3FF)]  # variation selectors, skin tones
KINDS = ("symbol", "space", "letter", "mark", "digit", "unspaced", "hangul", "punctuation", "ignored")


def within(code: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(low <= code <= high for low, high in ranges)


def kind(code: int) -> str:
    """What part a code point plays in a text."""
    category = unicodedata.category(chr(code))
    if within(code, IGNORED) or category == "Cf":
        return "ignored"
    if category[0] == "Z" or category == "Cc":
        return "space"
    if category[0] == "M":
        return "mark"
    if category[0] == "N" and category != "No":
        return "digit"
    if category[0] == "L":
        return "hangul" if within(code, HANGUL) else "unspaced" if within(code, UNSPACED) else "letter"
    return "punctuation" if category[0] == "P" else "symbol"


def folded(code: int) -> int:
    """One code point for upper and lower case and for full and normal width."""
    if 0xFF01 <= code <= 0xFF5E:
        code -= 0xFEE0
    text = chr(code)
    for other in (text.casefold(), text.lower()):
        if len(other) == 1:
            return ord(other)
    return code


def runs(values: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(first code point, value) where the value changes."""
    last = None
    for code, value in enumerate(values):
        if value != last:
            yield code, value
            last = value


def table(name: str, of: str, rows: list[str]) -> str:
    lines, line = [], "   "
    for row in rows:
        if len(line) + len(row) > 117:
            lines.append(line)
            line = "   "
        line += f" {row},"
    body = "\n".join([*lines, line])
    return f"inline constexpr {of} {name}[] = {{\n{body}\n}};\n"


def main() -> None:
    codes = range(END)
    kinds = [KINDS.index(kind(code)) for code in codes]
    folds = [folded(code) - code for code in codes]
    classes = [unicodedata.combining(chr(code)) for code in codes]
    hangul = range(0xAC00, 0xD7A4)  # by arithmetic
    parts = []
    for code in codes:
        found = unicodedata.decomposition(chr(code))
        if found and not found.startswith("<") and code not in hangul:
            first, *second = (int(part, 16) for part in found.split())
            joined = unicodedata.normalize("NFC", chr(first) + "".join(map(chr, second))) == chr(code)
            last = second[0] if second else 0
            parts.append(f"{{0x{code:x}, 0x{first:x}, 0x{last:x}, {'true' if joined else 'false'}}}")
    write = sys.stdout.write
    write("// Made by core/unicode_tables.py; not to be edited.\n#pragma once\n#include <cstdint>\n\n")
    write(f"namespace luce::unicode {{\n\n// Unicode {unicodedata.unidata_version}\n\n")
    write(f"enum class Kind : std::uint8_t {{ {', '.join(KINDS)} }};\n\n")
    write("// From a code point on, up to the next one named here.\nstruct Run {\n    std::uint32_t from;\n")
    write("    std::int32_t value;\n};\n\n")
    write("// A canonical decomposition; joined: the two compose to it again.\nstruct Pair {\n")
    write("    std::uint32_t whole, first, second;\n    bool joined;\n};\n\n")
    for name, values in (("kinds", kinds), ("folds", folds), ("combining", classes)):
        write(table(name, "Run", [f"{{0x{code:x}, {value}}}" for code, value in runs(values)]) + "\n")
    write(table("pairs", "Pair", parts))
    write("\n}  // namespace luce::unicode\n")


if __name__ == "__main__":
    main()
