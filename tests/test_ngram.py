"""Texts as n-grams: what is alike gives alike features, the same on any machine, as a plain Python oracle says.

The oracle takes the classes of code points from core/unicode_tables.h, which the first tests hold against unicodedata.
"""

from __future__ import annotations

import importlib.util
import itertools
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from luce import _core

Array = np.ndarray

CORE = Path(__file__).resolve().parents[1] / "core"
HEADER = (CORE / "unicode_tables.h").read_text()
VERSION = re.findall(r"// Unicode ([\d.]+)", HEADER)[0]
LOOKED_AT = [*range(0x33480), *range(0xE0000, 0xE0200), 0xF0000, 0x10FFFF]  # the other planes hold nothing yet

# what Unicode 14 and later ones say alike, so that any Python's unicodedata can be the oracle
POOLS = [
    range(0x20, 0x7F), range(0xA0, 0x250), range(0x300, 0x370), range(0x390, 0x400), range(0x5D0, 0x5EB),
    range(0x627, 0x656), range(0x915, 0x94E), range(0x958, 0x960), range(0xE01, 0xE3B), range(0xF40, 0xF48),
    range(0xF71, 0xF85), range(0x1100, 0x1200), range(0x1E00, 0x1F16), range(0x200B, 0x2010), range(0x212A, 0x212C),
    range(0x3040, 0x3100), range(0x4E00, 0x4E80), range(0xAC00, 0xAE00), range(0xF900, 0xF980), range(0xFB1D, 0xFB37),
    range(0xFE00, 0xFE10), range(0xFF01, 0xFF5F), range(0x1D15E, 0x1D166), range(0x1F3FB, 0x1F440),
    range(0x2F800, 0x2F880), range(0xE0100, 0xE0104), [0x20, 0x9, 0xA0, 0x3000, 0x27, 0x2019, 0x2E, 0x2C, 0x30, 0x31],
    [0xC5B4, 0x11A8, 0x11C2, 0x1175, 0x3099, 0x93C, 0x9BE, 0x9C7, 0x1D165, 0x345],
]  # fmt: skip

TEXTS = [
    "", " ", "a", "Don't PANIC, it's fine... really!!!", "The quick brown fox; isn’t 3.5 or 1,000 or 1. 2,b",
    "soooo goooood", "year 2024, phone 01012345678, pi 3.14159265, id 1234567890123456, v12345x",
    "안녕하세요 반갑습니다", "배송이 너무 늦어요ㅠㅠㅠ 왜이래 ㅋㅋㅋㅋ", "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "한글English섞어쓰기 제3회", "नमस्ते दुनिया, क्या हाल है?", "क़िला", "我喜欢吃苹果。很好！", "東京タワーへ行きました",
    "สวัสดีครับ ยินดีต้อนรับ", "👩\u200d👧\u200d👦👍🏽👍🏽👍🏽 ❤\ufe0f❤\ufe0f",
    "see http://Example.com/a/b?c and (www.luce.org) or HTTPS://WWW.x.de#y end",
    "xhttps://www.y.org", "http://", "naïve café résumé Ångström", "e\u0301\u0323\u0334\u0301", "\u0301\u0323 x",
    "ＦＵＬＬ　ｗｉｄｔｈ １２３",
    "a_b-c+d=e", "²½ Ⅳ ٣٤٥", "\ufeffשלום\u200f مرحبا", "tab\tnew\nline\r\n\x00end",
]  # fmt: skip


# --- the oracle ----------------------------------------------------------------------------------------------------


def tables() -> Any:
    spec = importlib.util.spec_from_file_location("unicode_tables", CORE / "unicode_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MADE_BY = tables()


def rows(name: str) -> list[list[str]]:
    body = re.findall(name + r"\[\] = \{(.*?)\};", HEADER, re.S)[0]
    return [row.split(", ") for row in re.findall(r"\{(.*?)\}", body)]


def spread(name: str) -> Array:
    firsts, values = zip(*((int(first, 16), int(value)) for first, value in rows(name)), strict=True)
    return np.repeat(values, np.diff([*firsts, 0x110000]))


KINDS, FOLDS, COMBINING = spread("kinds"), spread("folds"), spread("combining")
SHAPES = "S LMDUHPx"  # of a symbol, space, letter, mark, digit, unspaced, Hangul, punctuation, ignored


def shape(char: str) -> str:
    return SHAPES[KINDS[ord(char)]]


def seen(text: str) -> str:
    """Folded, without what is ignored."""
    folded = (chr(ord(char) + int(FOLDS[ord(char)])) for char in text)
    return "".join(char for char in folded if shape(char) != "x")


def without_runs(text: str) -> str:
    out = ""
    for char in text:
        if shape(char) == "D" or not out.endswith(2 * char):
            out += char
    return out


def without_path(chunk: str) -> str:
    """Of what stands between spaces: a web address that begins behind no letter or digit is its sign and its host."""
    for i in range(len(chunk)):
        scheme = re.compile(r"https?://(www\.)?|www\.", re.I | re.A).match(chunk, i)
        before = seen(chunk[:i])
        if scheme and (not before or shape(before[-1]) not in "LD"):
            return before + "\U000f0000" + re.split("[/?#]", seen(chunk[scheme.end() :]))[0]
    return seen(chunk)


@cache
def normal(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    chunks = "".join(" " if shape(char) == " " else char for char in text).split(" ")
    return " ".join(filter(None, (without_runs(without_path(chunk)) for chunk in chunks)))


class Recipe(NamedTuple):
    words: int = 0
    characters: tuple[int, int] = (1, 0)
    across: bool = False
    jamo: tuple[int, int] = (1, 0)

    def core(self) -> _core.Recipe:
        return _core.Recipe(self.words, *self.characters, self.across, *self.jamo)


RECIPES = [
    Recipe(words=1), Recipe(words=2), Recipe(words=3), Recipe(characters=(2, 5)), Recipe(characters=(1, 3)),
    Recipe(characters=(2, 5), across=True), Recipe(jamo=(3, 6)), Recipe(2, (2, 5), False, (3, 6)),
    Recipe(3, (1, 4), True, (1, 2)), Recipe(),
]  # fmt: skip
WORDS, CHARACTERS, JAMO = 0x51A7C0DE11F3A94B, 0xC3A5C85C97CB3127, 0xB492B66FBE98F273
BEGIN = 0x8EBC6AF09C88C6E3


def fed(seed: int, values: Sequence[int]) -> int:
    for value in values:
        seed = (seed ^ value) * 0x9E3779B97F4A7C15 % 2**64
    return seed


def bucket(seed: int, values: Sequence[int]) -> int:
    found = fed(seed, values)
    return (found ^ found >> 32) * 0xD6E8FEB86659FD93 % 2**64 >> 40


def tokens(text: str) -> list[str]:
    """Words with their inner apostrophes, numbers with their points, single letters of unspaced scripts, runs."""
    shapes = "".join("'" if c in "'’" else "." if c in ".," else shape(c) for c in text)
    word = re.compile(r"[LMDH](?:[LMDH]|(?<=L)'(?=L)|(?<=D)\.(?=D))*|UM*")
    out, i = [], 0
    while i < len(text):
        found = word.match(shapes, i)
        run = itertools.takewhile(text[i].__eq__, text[i:])
        out.append(found[0] and text[i : found.end()] if found else "".join(run))
        i += len(out[-1])
    return [token for token in out if token != " "]


def word_hash(token: str) -> int:
    if len(token) >= 5 and all(shape(char) == "D" for char in token):
        token = "0" * min(len(token), 12)
    return fed(WORDS, [ord(char) for char in token.replace("’", "'")])


def letters(token: str) -> str:
    """Syllables taken apart; one without a tail has the tail U+11A7."""
    out = ""
    for char in token:
        apart = unicodedata.normalize("NFD", char) if "가" <= char <= "힣" else char
        out += apart + ("\u11a7" if "가" <= char <= "힣" and len(apart) == 2 else "")
    return out


def slices(items: Sequence[Any], sizes: tuple[int, int]) -> Iterator[Any]:
    for i in range(len(items)):
        yield from (items[i : i + size] for size in range(sizes[0], sizes[1] + 1) if i + size <= len(items))


def grams(text: str, recipe: Recipe) -> list[int]:
    text = normal(text)
    words = tokens(text)
    hashes = [word_hash(token) for token in words]
    out = [bucket(WORDS, part) for part in slices(hashes, (1, recipe.words))]
    out += [bucket(WORDS, [BEGIN, *hashes[:size]]) for size in range(1, min(recipe.words - 1, len(words)) + 1)]
    for token in ([text] if text else []) if recipe.across else words:
        parts = slices(f" {token} ", recipe.characters)
        out += [bucket(CHARACTERS, [*map(ord, part)]) for part in parts if part != " "]
    for token in words:
        if shape(token[0]) == "H":
            parts = slices(f" {letters(token)} ", recipe.jamo)
            out += [bucket(JAMO, [*map(ord, part)]) for part in parts if part != " "]
    return out


# --- what a text is normalised to ----------------------------------------------------------------------------------


@cache
def drawn_texts(count: int) -> list[str]:
    """Runs of code points of a few pools each, so that they meet those that they compose with."""
    rng = random.Random(0)
    out = []
    for _ in range(count):
        pools = rng.choices(POOLS, k=rng.randint(1, 3))
        parts = [chr(rng.choice(rng.choice(pools))) * rng.choice([1, 1, 1, 1, 2, 4]) for _ in range(rng.randint(0, 12))]
        out.append("".join(parts))
    return out


@cache
def anything(count: int) -> list[str]:
    """Of all code points that the header and this Python know as the same kind."""
    known = [c for c in LOOKED_AT if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    known = [c for c in known if MADE_BY.KINDS[KINDS[c]] == MADE_BY.kind(c)]
    rng = random.Random(1)
    return ["".join(map(chr, rng.choices(known, k=rng.randint(1, 20)))) for _ in range(count)]


def test_normalised_text_is_nfc_folded_and_simplified_as_the_oracle_says() -> None:
    for text in [*TEXTS, *drawn_texts(4000), *anything(1000)]:
        assert _core.normalised(text) == normal(text), ascii(text)


def test_every_form_of_a_text_is_one_text() -> None:
    """Decomposed or composed; every code point that has parts alone, then behind a letter and before marks."""
    parted = [chr(int(row[0], 16)) for row in rows("pairs")]
    assert len(parted) > 2000
    around = [f"a{char}\u0323\u0301" for char in parted]
    for text in [*drawn_texts(3000), *parted, *around, *(chr(c) for c in range(0xAC00, 0xD7A4, 7))]:
        forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")} | {text}
        assert {_core.normalised(form) for form in forms} == {normal(text)}, ascii(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("MiXeD ÇA ΑΣας", "mixed ça ασασ"),
        ("Ｆｕｌｌ！１２", "full!12"),
        ("Å \u212b A\u030a", "å å å"),
        ("\u1112\u1161\u11ab", "한"),
        ("가\u11a7 \u1100\u1161\u11a7\u11a8 가\u11c3", "가\u11a7 가\u11a7\u11a8 가\u11c3"),
        ("\uf900 \U0002f800", "豈 丽"),
        ("👩\u200d👧 ❤\ufe0f 👍🏽", "👩👧 ❤ 👍"),
        ("\u200eab\u200fc\u202e\ufeff\u00ad", "abc"),
        ("soooo 1000000 !!!! ㅋㅋㅋㅋ", "soo 1000000 !! ㅋㅋ"),
        ("sOoO\u200bo", "soo"),
        ("x\u0301\u0301\u0301\u0301", "x\u0301\u0301"),
        ("  a \t\n\r\u00a0\u3000\u2028\x00 b\u200b \u200b c  ", "a b c"),
        ("http://x.org/y?z q", "\U000f0000x.org q"),
        ("Https://WWW.X.org?z", "\U000f0000x.org"),
        ("(www.x.org#y)", "(\U000f0000x.org"),
        ("ahttp://x.org/y awww.z", "ahttp://x.org/y aww.z"),
        ("한http://x.org/y", "한\U000f0000x.org"),
    ],
    ids=ascii,
)
def test_what_becomes_of(text: str, wanted: str) -> None:
    assert _core.normalised(text) == wanted


def other_version(wrong: list[int]) -> None:
    """Later versions of Unicode may know more."""
    if wrong and unicodedata.unidata_version != VERSION:
        names = ", ".join(f"U+{code:04X}" for code in wrong[:20])
        pytest.skip(f"this Python has Unicode {unicodedata.unidata_version}, not {VERSION}, and they differ at {names}")
    assert not wrong, [hex(code) for code in wrong[:20]]


def test_the_kinds_of_the_header_are_those_of_unicodedata() -> None:
    assert SHAPES == "S LMDUHPx" and MADE_BY.KINDS[5] == "unspaced" and len(MADE_BY.KINDS) == len(SHAPES)
    other_version([c for c in LOOKED_AT if MADE_BY.KINDS[KINDS[c]] != MADE_BY.kind(c)])


def test_the_folds_and_classes_of_the_header_are_those_of_unicodedata() -> None:
    other_version([c for c in LOOKED_AT if c + FOLDS[c] != MADE_BY.folded(c)])
    other_version([c for c in LOOKED_AT if COMBINING[c] != unicodedata.combining(chr(c))])


def test_the_parts_of_the_header_are_those_of_unicodedata() -> None:
    own = {int(whole, 16): (int(first, 16), int(second, 16)) for whole, first, second, _ in rows("pairs")}
    joined = {int(row[0], 16) for row in rows("pairs") if row[3] == "true"}
    wrong = []
    for code in LOOKED_AT:
        found = unicodedata.decomposition(chr(code))
        parts = [int(part, 16) for part in found.split()] if found and found[0] != "<" else []
        same = own.get(code) == (tuple([*parts, 0][:2]) if parts else None)
        again = bool(parts) and unicodedata.normalize("NFC", "".join(map(chr, parts))) == chr(code)
        if not same or (code in joined) != again:
            wrong.append(code)
    other_version(wrong)


# --- n-grams -------------------------------------------------------------------------------------------------------


def counted(texts: Sequence[str | None], recipe: Recipe, threads: int = 1) -> list[list[tuple[int, int]]]:
    """(bucket, count) of each text, in the order of the core."""
    starts, packed = _core.count_grams(texts, recipe.core(), threads)
    assert (starts.dtype, packed.dtype) == (np.int64, np.uint32)
    pairs = [(int(p) % _core.BUCKETS, int(p) >> 24) for p in packed]
    return [pairs[a:b] for a, b in itertools.pairwise(starts.tolist())]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_n_grams_are_those_of_the_oracle(recipe: Recipe) -> None:
    """In the order in which the text has them, each once with its count."""
    texts = [*TEXTS, *drawn_texts(150), *anything(50)]
    for text, found in zip(texts, counted(texts, recipe), strict=True):
        assert found == list(Counter(grams(text, recipe)).items()), ascii(text)


GOLDEN = [
    [
        11519049, 15998177, 15524633, 13788943, 16449845, 5582942, 9602274, 15055643, 2857112, 16102299, 2237754,
        13901487, 8066900, 317073, 8722445, 12913514, 1233132, 2600933, 11979220, 4463174, 13359121, 16299205,
        13662333, 3405718, 8722553, 3548948,
    ],
    [
        6267411, 10203063, 2807296, 8494034, 6802908, 5050709, 2848152, 7473799, 9304630, 1119266, 563445, 16512831,
        8389180, 10349523, 15541074, 10351835, 9433289, 4204261,
    ],
    [
        6813698, 898968, 12070271, 14143782, 2566834, 516059, 11687220, 9967075, 3972508, 6598839, 3520240, 15344321,
        9009190, 2753486, 7431913, 2025271, 156829, 3563336, 11306304, 1231101, 10860065, 4816828, 6040807, 3582977,
        14681629, 7199009, 12865139, 14802891, 7027456, 15075593,
    ],
]  # fmt: skip


def test_golden_buckets() -> None:
    """The features of a stored model: the same on any machine and in any version."""
    recipe = Recipe(2, (2, 3), False, (3, 4))
    found = [[bucket for bucket, _ in text] for text in counted(["Don't 12345", "각하", "好👍 www.x.y/z"], recipe)]
    assert found == GOLDEN


def test_numbers_of_one_length_are_one_word_if_long() -> None:
    long, other, longer, longest, short = counted(["12345", "99999", "123456", "1" * 12, "1234"], Recipe(words=1))
    assert long == other
    assert len({long[0], longer[0], longest[0], short[0]}) == 4
    assert counted(["1" * 13], Recipe(words=1)) == [longest]


def test_counts_stop_at_255() -> None:
    assert [counted(["ab " * n], Recipe(words=1))[0][0][1] for n in (254, 255, 256, 1000)] == [254, 255, 255, 255]


def test_many_different_n_grams_are_all_counted() -> None:
    """A hand-made vocabulary larger than any table that a thread begins with, then a short text at the same desk."""
    words = [f"w{i}x" for i in range(5000)]
    many, few = counted([" ".join(words + words[::2]), "w1x w1x"], Recipe(words=1))
    assert many == list(Counter(grams(" ".join(words + words[::2]), Recipe(words=1))).items())
    assert few == [(many[1][0], 2)]


def test_any_number_of_threads_gives_the_same_bits() -> None:
    """Texts of several blocks of 256."""
    texts = [*drawn_texts(1500), None, *TEXTS]
    results = [_core.count_grams(texts, RECIPES[7].core(), threads) for threads in (1, 2, 3, 8)]
    for starts, packed in results:
        assert starts.tobytes() == results[0][0].tobytes()
        assert packed.tobytes() == results[0][1].tobytes()
    assert counted(texts[-30:], RECIPES[7]) == counted(texts, RECIPES[7], 3)[-30:]


def test_none_is_an_empty_text() -> None:
    assert counted([None, "a", "", None], Recipe(words=1)) == [[], counted(["a"], Recipe(words=1))[0], [], []]
    assert counted([], Recipe(words=1)) == []


@pytest.mark.parametrize("bad", [3, b"a", ["a"], 1.5, float("nan")], ids=repr)
def test_what_is_no_text_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="a text is a str or None"):
        _core.count_grams(["a", bad], RECIPES[0].core(), 1)
    with pytest.raises(TypeError):
        _core.normalised(bad)
    with pytest.raises(TypeError):
        _core.occurrences(bad, RECIPES[0].core())


def test_a_lone_surrogate_is_refused() -> None:
    for call in (
        lambda: _core.count_grams(["a", "b\ud800"], RECIPES[0].core(), 1),
        lambda: _core.normalised("b\udfff"),
        lambda: _core.occurrences("\ud800", RECIPES[0].core()),
    ):
        with pytest.raises(UnicodeEncodeError):
            call()


@pytest.mark.parametrize(
    "sizes", [(17, 1, 0, 1, 0), (-1, 1, 0, 1, 0), (1, 0, 2, 1, 0), (1, 1, 17, 1, 0), (1, 1, 2, 0, 1)]
)
def test_sizes_out_of_range_are_refused(sizes: tuple[int, int, int, int, int]) -> None:
    words, least, most, jamo_least, jamo_most = sizes
    with pytest.raises(ValueError, match="n-grams of"):
        _core.Recipe(words, least, most, False, jamo_least, jamo_most)


# --- where n-grams are in a text -----------------------------------------------------------------------------------


def reordered(text: str) -> bool:
    """Whether marks change places on the way to NFC."""
    classes = [int(COMBINING[ord(part)]) for char in text for part in unicodedata.normalize("NFD", char)]
    return any(a > b > 0 for a, b in itertools.pairwise(classes))


def spans_lie_in(text: str, recipe: Recipe) -> None:
    data = text.encode()
    ends = {0, *itertools.accumulate(len(char.encode()) for char in text)}
    for _, begin, end in _core.occurrences(text, recipe.core()):
        assert {begin, end} <= ends and begin < end <= len(data), ascii(text)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_occurrences_are_what_is_counted_and_their_spans_lie_on_characters(recipe: Recipe) -> None:
    texts = [*TEXTS, *drawn_texts(400), *anything(100)]
    for text, found in zip(texts, counted(texts, recipe), strict=True):
        occurrences = _core.occurrences(text, recipe.core())
        assert list(Counter(bucket for bucket, _, _ in occurrences).items()) == found
        if not reordered(text):
            spans_lie_in(text, recipe)


def test_spans_lie_on_characters_where_marks_change_places() -> None:
    spans_lie_in("q\u0301\u0323\u0334", Recipe(characters=(1, 3)))


def test_the_bytes_of_a_word_alone_are_the_word() -> None:
    """Whatever case, width and form it has; a web address begins where its host is not."""
    seen_words = 0
    for text in TEXTS:
        data = text.encode()
        if "\U000f0000" in normal(text) or reordered(text):
            continue
        for bucket, begin, end in _core.occurrences(text, RECIPES[0].core()):
            assert [b for b, _ in counted([data[begin:end].decode()], RECIPES[0])[0]] == [bucket], ascii(text)
            seen_words += 1
    assert seen_words > 80


def test_spans_of_a_plain_text_are_its_slices() -> None:
    text = "one 둘 three"
    data = text.encode()
    spans = [data[begin:end].decode() for _, begin, end in _core.occurrences(text, Recipe(words=2).core())]
    assert spans == ["one", "one 둘", "둘", "둘 three", "three", "one"]  # the last with the beginning of the text
    spans = [data[begin:end].decode() for _, begin, end in _core.occurrences(text, Recipe(characters=(3, 3)).core())]
    assert spans == ["on", "one", "ne", "둘", "th", "thr", "hre", "ree", "ee"]  # blanks are put around a word


# --- hostile texts -------------------------------------------------------------------------------------------------


def made(text: str, recipe: Recipe) -> int:
    return len(_core.occurrences(text, recipe.core()))


def test_as_many_n_grams_are_made_as_a_text_is_long() -> None:
    """A word of n letters has n + 3 - s of s letters, with its blanks."""
    for n in (1000, 10_000, 100_000):
        assert made("abcdefghij" * (n // 10), Recipe(characters=(2, 5))) == sum(n + 3 - s for s in range(2, 6))
        assert made("好" + "吃好" * (n // 2), Recipe(words=2)) == 2 * (n + 1)  # each, each pair, and the first
        assert made("👩\u200d👧\ufe0f" * (n // 2), Recipe(words=1)) == n


@pytest.mark.usefixtures("no_hang")
def test_ten_megabytes_without_a_space_are_one_word() -> None:
    [found] = counted(["abcdefghij" * 1_000_000], Recipe(2, (2, 5)))
    assert len(found) == 2 + 40 + 8  # the word twice; 10 of each size; four at its begin and at its end


@pytest.mark.usefixtures("no_hang")
def test_a_megabyte_of_marks_is_two_of_each() -> None:
    """They are put in order first; and those of one class, which keep their places, are all there."""
    marks = "\u0301\u0323\u0334\u0345\u05b0\u093c\u3099"
    ordered = _core.normalised("a" + marks * 70_000)
    assert ordered == normal("a" + marks * 3)
    kept = "\u0301\u0302\u0303\u0307" * 120_000
    assert _core.normalised("q" + kept) == "q" + kept


@pytest.mark.usefixtures("no_hang")
def test_a_megabyte_of_joined_signs_is_read() -> None:
    assert _core.normalised("👩\u200d" * 150_000) == "👩👩"
    assert len(_core.normalised("👩\u200d👧\u200d" * 70_000)) == 140_000
    assert _core.normalised("\u200d" * 300_000) == _core.normalised(" \u200f" * 200_000) == ""
    assert _core.normalised("http://" * 150_000) == "\U000f0000http:"  # the rest is a path
    assert len(_core.normalised("www. " * 200_000)) == 399_999


# --- vocabularies and weights --------------------------------------------------------------------------------------


def drawn_grams(seed: int, texts: int = 1000, buckets: int = 5000) -> tuple[Array, Array]:
    """starts and packed, some texts empty, buckets up to the last one."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 30, texts))]).astype(np.int64)
    found = _core.BUCKETS - 1 - rng.zipf(1.5, starts[-1]) % buckets * 3001
    return starts, (found | rng.integers(1, 256, starts[-1]) << 24).astype(np.uint32)


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize(("least", "most"), [(1, 10**6), (2, 100), (5, 10), (1, 0), (10**6, 5)])
def test_frequent_buckets_are_those_of_numpy(least: int, most: int, threads: int) -> None:
    _, packed = drawn_grams(0)
    often = np.repeat(
        np.array([7, 9, 5, 2**24 - 1, 3, 100, 2**23, 2**23 - 1], dtype=np.uint32),
        [4095, 4096, 4096, 4097, 9000, 256, 255, 512],
    )
    packed = np.concatenate([packed, often])
    buckets, counts = np.unique(packed % _core.BUCKETS, return_counts=True)
    order = np.lexsort([buckets, -counts])
    wanted = buckets[order][counts[order] >= least][:most]
    assert np.array_equal(_core.frequent_buckets(packed, least, most, threads), wanted)


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("size", [0, 1, 8, 9, 3000])
def test_known_n_grams_are_those_of_a_dictionary(size: int, threads: int) -> None:
    starts, packed = drawn_grams(1)
    chosen = np.random.default_rng(2).permutation(np.unique(packed % _core.BUCKETS))[:size]
    place = {int(bucket): i for i, bucket in enumerate(chosen)}
    found = [(place[int(p) % 2**24], int(p) >> 24) if int(p) % 2**24 in place else None for p in packed]
    wanted_starts = np.concatenate([[0], np.cumsum([pair is not None for pair in found])])[starts]
    known_starts, places, counts = _core.Vocabulary(chosen).known(starts, packed, threads)
    assert np.array_equal(known_starts, wanted_starts)
    assert list(zip(places.tolist(), counts.tolist(), strict=True)) == [pair for pair in found if pair is not None]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_weights_are_those_of_numpy(threads: int) -> None:
    """Four roundings to float32, each half a unit of 2^-23: of 1 + ln count, of its product, of the length, of all."""
    starts, packed = drawn_grams(3)
    rng = np.random.default_rng(4)
    places, counts = rng.integers(0, 50, len(packed)).astype(np.int32), (packed >> 24).astype(np.uint8)
    scale = np.where(np.arange(50) < 25, rng.uniform(0.5, 9, 50) * threads**-5.0, 0).astype(np.float32)
    wanted = (1 + np.log(counts.astype(np.float64))) * scale[places]
    row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    kept = wanted > 0
    length = np.sqrt(np.bincount(row, wanted**2))[row]
    found_starts, found_places, values = _core.weigh(starts, places, counts, scale, threads)
    assert values.dtype == np.float32
    assert np.array_equal(found_starts, np.concatenate([[0], np.cumsum(kept)])[starts])
    assert np.array_equal(found_places, places[kept])
    assert np.all(np.abs(values - (wanted[kept] / length[kept])) <= 2.0**-22 * values)
    assert 1000 < kept.sum() < len(kept) - 1000


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize(("classes", "columns"), [(2, 60), (5, 60), (300, 900)])  # few, whose counts are kept; many
def test_what_an_n_gram_tells_is_the_formula_in_numpy(classes: int, columns: int, threads: int) -> None:
    """Doubles in another order, then one rounding to float32: 2^-24, and what cancels where next to nothing is told."""
    starts, packed = drawn_grams(5)
    rng, texts, folds = np.random.default_rng(6), len(starts) - 1, 3
    places = rng.integers(0, columns - 1, len(packed)).astype(np.int32)  # no text has the last one
    codes, fold = rng.integers(0, classes, texts).astype(np.int32), rng.integers(0, folds, texts).astype(np.int32)
    row = np.repeat(np.arange(texts), np.diff(starts))
    found = np.empty((folds + 1, columns), dtype=np.float32)
    often = np.zeros(columns, dtype=np.int64)
    _core.information(starts, places, codes, classes, fold, folds, found, often, threads)
    assert np.array_equal(often, np.bincount(places, minlength=columns))
    for left_out in range(folds + 1):
        q = np.bincount(codes[fold != left_out], minlength=classes) / np.sum(fold != left_out)
        counts = np.zeros((columns, classes))
        np.add.at(counts, (places, codes[row]), fold[row] != left_out)
        p = (counts + q) / (counts.sum(axis=1, keepdims=True) + 1)
        wanted = np.sqrt(np.maximum(np.sum(p * np.log(np.where(p > 0, p, 1) / np.where(q > 0, q, 1)), axis=1), 0))
        assert np.median(wanted) > 1e-2 and wanted[-1] == 0
        assert np.allclose(found[left_out], wanted, rtol=2.0**-23, atol=1e-7)


def test_arrays_that_do_not_fit_are_refused() -> None:
    starts, packed = np.array([0, 2], np.int64), np.array([1, 2], np.uint32)
    places, counts, scale = np.array([0, 1], np.int32), np.ones(2, np.uint8), np.ones(2, np.float32)
    vocabulary = _core.Vocabulary(packed)
    for bad in ([0, 1], [1, 2], [0, 3, 2], []):
        with pytest.raises(ValueError, match="starts must"):
            vocabulary.known(np.array(bad, np.int64), packed, 1)
        with pytest.raises(ValueError, match="starts must"):
            _core.weigh(np.array(bad, np.int64), places, counts, scale, 1)
    for place in (-1, 2):
        with pytest.raises(ValueError, match="out of range"):
            _core.weigh(starts, np.array([0, place], np.int32), counts, scale, 1)
    with pytest.raises(ValueError, match="differ in length"):
        _core.weigh(starts, places, counts[:1], scale, 1)
    with pytest.raises(ValueError, match="out of range"):
        _core.Vocabulary(np.array([_core.BUCKETS], np.uint32))
    with pytest.raises(ValueError, match="a text or more"):
        _core.frequent_buckets(packed, 0, 5, 1)
