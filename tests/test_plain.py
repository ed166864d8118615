"""Plain cells become the features that a table gives, bit for bit, or are left to the table."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import polars as pl
import pytest
from claims import table
from commands import orders, reviews
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import drawn, plain_rows

import luce
from luce.cells import MISSING
from luce.plain import OddError, Plain, clean
from luce.table import Table

Rows = list[dict[str, Any]]


def fits() -> dict[str, tuple[luce.Classifier, pl.DataFrame]]:
    frame, y = table(300, ["a", "b", "c"])
    whole = reviews(240).with_columns(orders()["price", "grade", "day"])
    days = orders(120).with_columns(
        pl.col("day").cast(pl.String), member=pl.col("member").replace_strict({True: "yes", False: "no"})
    )
    rng = np.random.default_rng(0)
    far = pl.DataFrame({"a": rng.exponential(size=1500), "b": rng.exponential(size=1500)})
    rare = rng.logistic(size=1500) < 3.0 * (far["a"] + far["b"]).to_numpy() - 14.0
    return {
        "numbers in full": (luce.Classifier(effects="linear").fit(far, rare), far * 2.0),  # some beyond the ends
        "curves and pairs": (luce.Classifier(effects="pairs").fit(frame, y), frame),
        "straight": (luce.Classifier(effects="linear").fit(frame, y), frame),
        "a text beside": (luce.Classifier().fit(whole, "label"), whole.drop("label")),
        "written dates and truths": (luce.Classifier().fit(days, "label"), days.drop("label")),
        "a network": (luce.Classifier(model=luce.NetworkClassifier([8], epochs=2)).fit(frame, y), frame),
    }


@pytest.fixture(scope="module")
def fitted() -> dict[str, tuple[luce.Classifier, pl.DataFrame]]:
    return fits()


def columns(rows: Rows, names: list[str]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in names}


def same_features(model: luce.Classifier, rows: Rows, names: list[str]) -> None:
    cells = columns(rows, names)
    ours = Plain(model.fitted).features(cells, len(rows))
    theirs = model.fitted.features(Table.of(cells))
    for part in ("rows", "sparse_columns"):
        assert getattr(ours, part) == getattr(theirs, part)
    for part in ("dense", "starts", "indices", "values"):
        a, b = getattr(ours, part), getattr(theirs, part)
        assert (a is None) == (b is None), part
        assert a is None or (a.dtype == b.dtype and a.tobytes() == b.tobytes()), part


KINDS = ["numbers in full", "curves and pairs", "straight", "a text beside", "written dates and truths", "a network"]


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_and_each_alone_are_as_in_a_table(fitted: Any, kind: str) -> None:
    model, frame = fitted[kind]
    rows = plain_rows(frame)
    same_features(model, rows, frame.columns)
    for i in (0, 1, 5, 17):
        same_features(model, rows[i : i + 1], frame.columns)
    same_features(model, rows[:9], frame.columns)  # more than are placed by Python


def test_the_fits_hold_every_kind_of_part(fitted: Any) -> None:
    """Else the test above would say less than it seems to."""
    assert fitted["numbers in full"][0].fitted.encoder.is_uncompressed
    encoder = fitted["curves and pairs"][0].fitted.encoder
    assert encoder.curves and encoder.pairs and encoder.values and encoder.dates and encoder.categories
    assert any(plan.missing for plan in encoder.numbers)
    assert fitted["a text beside"][0].fitted.encoder.texts


NUMBERS = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1, 2, 3, 45.5, 1e300, 5e-324]),
)
TOWNS = st.one_of(
    st.none(),
    st.sampled_from(["Oslo", "서울", " Oslo\u3000", "서울", "Bern", "NA", " na ", "-", "", "\x1cOslo"]),
    st.text(max_size=8),
)
DAYS = st.one_of(st.none(), st.dates().map(str))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_cells_are(fitted: Any, data: st.DataObject) -> None:
    """The bits of a table, or no answer at all: then the service asks the table."""
    model, _ = fitted["curves and pairs"]
    truths = st.sampled_from([None, True, False, "yes", " No ", "true", "아니오", "NA"])
    numbers = dict.fromkeys(("age", "income", "rooms"), NUMBERS)
    row = st.fixed_dictionaries({**numbers, "member": truths, "town": TOWNS, "since": DAYS})
    rows = data.draw(st.lists(row, min_size=1, max_size=10))
    with suppress(OddError):
        same_features(model, rows, ["age", "income", "rooms", "member", "town", "since"])


@pytest.mark.parametrize(
    ("column", "cell"),
    [("age", "38,5"), ("age", 10**400), ("age", True), ("member", 2), ("member", "perhaps"), ("town", 5),
     ("since", "1.2.2024"), ("since", "2024-02-30"), ("since", 20240101)],
)  # fmt: skip
def test_odd_cells_are_left_to_the_table(fitted: Any, column: str, cell: Any) -> None:
    model, frame = fitted["curves and pairs"]
    rows = plain_rows(frame.head(2))
    rows[1][column] = cell
    with pytest.raises(OddError):
        Plain(model.fitted).features(columns(rows, frame.columns), 2)


@pytest.mark.parametrize(
    "cell", [*sorted(MISSING), " NA\t", "NULL", "없음", "a b", "é", "ﬁ", "\x1cna", "na\x1f", "\u200bna", "\u3000-"]
)
def test_a_clean_text_is_that_of_the_rules(cell: str) -> None:
    from luce import cells

    assert clean(cell) == cells.clean(pl.Series([cell]))[0]


def test_images_are_taken_as_pixels() -> None:
    images, kinds = drawn()
    model = luce.Classifier().fit(images, kinds)
    name = next(iter(model.fitted.image_sizes))
    ours = Plain(model.fitted).features({name: images[:5, :, :, np.newaxis]}, 5)
    theirs = model.fitted.features(Table.of(images[:5]))
    assert ours.dense is not None and theirs.dense is not None
    assert ours.dense.tobytes() == theirs.dense.tobytes()
