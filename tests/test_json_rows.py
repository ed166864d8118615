"""The core's reader of JSON rows: what it takes means what Python's own reader says; all else it leaves to others."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luce._core import JsonRows
from luce.json_lines import distinct_keys, refuse_constant

LEVELS = ["red", "초록", "", "a b", "{"]
COLUMNS = [
    ("age", "number", 1, False, ()),
    ("weight", "number", 0, True, ()),
    ("member", "boolean", 2, False, ()),
    ("town", "category", 0, True, LEVELS),
    ("큰 글", "category", 1, False, ["x"]),
]
READER = JsonRows(COLUMNS)
MOST = 50


def by_hand(body: bytes) -> list[dict[str, Any]]:
    """The rows of a body by Python's reader, or ValueError; a key twice and NaN are refused."""
    told = json.loads(body, object_pairs_hook=distinct_keys, parse_constant=refuse_constant, parse_int=float)
    return told["rows"]


def check(body: bytes) -> bool:
    """Whether the body is taken; raises AssertionError where it is taken and means something else."""
    found = READER.read(body, MOST)
    if found is None:
        return False
    numbers, codes, begin, end = found
    rest = body[:begin] + b"[]" + body[end:]
    try:
        rows = by_hand(body)
    except ValueError:  # for what stands beside the rows, which others read, and refuse
        with pytest.raises(ValueError, match=r"."):
            by_hand(rest)
        return True
    assert numbers.shape == (3, len(rows)) and codes.shape == (2, len(rows)) and 0 < len(rows) <= MOST
    assert by_hand(rest) == [] and json.loads(body[begin:end], parse_int=float) == rows
    for name, kind, place, may_miss, levels in COLUMNS:
        cells = [row.get(name) for row in rows]
        assert may_miss or None not in cells
        if kind == "category":
            assert [levels.index(c) if c is not None else len(levels) + 1 for c in cells] == codes[place].tolist()
            continue
        assert all(isinstance(c, bool if kind == "boolean" else float) or c is None for c in cells)
        wanted = np.array([math.nan if c is None else c for c in cells], dtype=np.float64)
        assert wanted.tobytes() == numbers[place].tobytes()  # the nearest double, -0 too
    return True


def spelled(number: float, style: int) -> str:
    if style == 0 and abs(number) < 1e300:
        return f"{number:.3f}"
    return repr(number) if style == 1 else f"{number:.25e}" if style == 2 else f"{number:E}"


numbers = st.one_of(
    st.builds(spelled, st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 3)),
    st.integers(-(10**25), 10**25).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    space = draw(st.sampled_from(["", " ", "\n\t "]))
    made = []
    for _ in range(draw(st.integers(1, 4))):
        cells = {"age": draw(numbers), "member": draw(st.sampled_from(["true", "false"])), "큰 글": '"x"'}
        if draw(st.booleans()):
            cells["weight"] = draw(numbers | st.just("null"))
        if draw(st.booleans()):
            level = json.dumps(draw(st.sampled_from(LEVELS)), ensure_ascii=False)
            cells["town"] = draw(st.sampled_from([level, "null"]))
        order = draw(st.permutations(sorted(cells)))
        made.append("{" + f",{space}".join(f'"{name}"{space}:{space}{cells[name]}' for name in order) + "}")
    parts = [f'"rows"{space}:{space}[{space}' + f"{space},".join(made) + f"{space}]"]
    parts += draw(st.sampled_from([[], ['"coverage":0.5'], ['"x": {"a": [1, "]}\\\\", {}], "b": -0.1e5}']]))
    return ("{" + f"{space},{space}".join(draw(st.permutations(parts))) + "}" + space).encode()


@given(bodies())
def test_plain_bodies_are_taken_and_mean_what_they_say(body: bytes) -> None:
    limits = [abs(c) for row in by_hand(body) for c in row.values() if isinstance(c, float)]
    odd = any(math.isinf(c) or 0 < c < 1e-300 for c in limits)  # near the ends of double precision it may leave them
    assert check(body) or odd


@given(
    bodies(), st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(b'{}[]",:.-+eE019\\ntr \x00\xff')), max_size=4)
)
def test_a_body_with_faults_is_left_or_means_what_it_says(body: bytes, faults: list[tuple[int, int]]) -> None:
    changed = bytearray(body)
    for place, byte in faults:
        changed[place % len(changed)] = byte
    check(bytes(changed))
    check(bytes(changed[: faults[0][0] % len(changed)]) if faults else b"")


GOOD = '{"age": 1, "member": true, "큰 글": "x"}'


def rows(*each: str) -> str:
    return '{"rows": [' + ",".join(each) + "]}"


@pytest.mark.parametrize("beside", ['"]}\\{"', '{"a": 0.1.1}', "tru", '"\x01"'])
def test_a_fault_beside_the_rows_is_for_others_to_find(beside: str) -> None:
    assert check(('{"x": [' + beside + "], " + rows(GOOD)[1:]).encode())


ODD = [
    *("", "{", "{}", "[]", rows(), '{"rows": {}}', rows("1"), rows("null"), rows(GOOD, ""), rows(GOOD)[:-1]),
    *(rows(GOOD) + "}", '{"x": 1, ' + rows(GOOD), rows(GOOD)[:-1] + ", " + rows(GOOD)[1:]),
    *(rows(GOOD).replace("rows", "ro\\u0077s"), '{"x": ' + "[" * 20 + "]" * 20 + ", " + rows(GOOD)[1:]),
    *(
        rows(GOOD.replace("1", number))
        for number in "01 1. .1 +1 1e 1e+ 0x1 -\t1 NaN 1e999 null true 1\n1 ١".split(" ")
    ),
    *(rows(GOOD.replace("true", truth)) for truth in ('"yes"', "1", "True")),
    *(rows(GOOD.replace("}", more)) for more in (', "age": 2}', ', "town": "blue"}', ', "town": "r\\u0065d"}')),
    *(rows(GOOD.replace("}", more)) for more in (', "town": 1}', ",}", ', "age"}', "")),
    *(rows(GOOD.replace('"age"', '"Age"')), rows(GOOD.replace('"age": 1, ', "")), rows(*[GOOD] * (MOST + 1))),
]


@pytest.mark.parametrize("body", ODD)
def test_what_is_odd_is_left(body: str) -> None:
    assert READER.read(body.encode(), MOST) is None


def test_the_most_rows_are_taken() -> None:
    assert check(rows(*[GOOD] * MOST).encode())


@pytest.mark.parametrize("places", [(0, 0), (0, 2), (-1, 0)])
def test_places_are_those_of_the_lines(places: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="place"):
        JsonRows([("a", "number", places[0], False, ()), ("b", "number", places[1], False, ())])
