"""Every model satisfies every claim (claims.py has both lists and the reasons)."""

from __future__ import annotations

from collections.abc import Callable

import claims
import pytest
from claims import CASES, CLAIMS, OF_CONVEX, Case, Once, claims_of

ONCE = [Once(case.name, case.make, case.rows, case.labels) for case in CASES]
PAIRS = [(case, claim) for case in ONCE for claim in claims_of(case)]


@pytest.mark.parametrize(("case", "claim"), PAIRS, ids=[f"{case}-{claim.__name__}" for case, claim in PAIRS])
def test_every_model_satisfies_every_claim(case: Case, claim: Callable[[Case], None]) -> None:
    claim(case)


def test_the_lists_are_whole() -> None:
    """A claim or a model that is lost, say by a decorator forgotten, must not pass unseen."""
    assert len(CLAIMS) == 10
    assert len(OF_CONVEX) == 5
    assert len(CASES) == 24
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_same_table_in_any_container_gives_the_same_bits() -> None:
    """The dict and the pandas frame of the list hold the same cells."""
    same = [case for case in ONCE if case.name in ("table, dict, 3 classes", "table, pandas, 3 classes")]
    one, other = (claims.parts(case.fitted()) for case in same)
    assert claims.same_bits(one.coef, other.coef)
    assert claims.same_bits(one.intercept, other.intercept)


def test_the_tables_hold_what_they_are_meant_to_test() -> None:
    """Missing cells, flags, few-valued numbers, dates, rare levels: each has a column in the fitted plan."""
    case = next(case for case in ONCE if case.name == "table, polars, 4 classes")
    encoder = case.fitted().fitted.encoder
    assert [p.name for p in encoder.numbers] == ["age", "income", "rooms", "member"]
    assert all(p.missing for p in encoder.numbers)
    assert [v.name for v in encoder.values] == ["rooms"]
    assert [d.name for d in encoder.dates] == ["since"]
    assert encoder.categories[0].levels == ("Lima", "Oslo", "Rome", "서울")
