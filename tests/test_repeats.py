"""Equal rows: copies of one are never on both sides of a split, and rows that are equal by nature are cases of their
own, without which a fit would be measured on nothing but rows unlike any it saw."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray

import luce
import luce.calibration
import luce.grouping
import luce.network
import luce.path
from luce.features import Features
from luce.inputs import features_of
from luce.splits import MANY_ALIKE, holdout, keys_of_copies, row_keys, strata_of_copies

MANY = (2,) * 60  # different values of columns, none of which tells rows apart alone
SHARES = {"red": (0.7, 0.2, 0.1), "green": (0.1, 0.7, 0.2), "blue": (0.2, 0.1, 0.7)}
Data = dict[str, list[Any]]


def colours(rows: int) -> Data:
    """A class by chance from a colour, and a column that says nothing: six different rows in all."""
    draw = random.Random(1)
    colour = [draw.choice(list(SHARES)) for _ in range(rows)]
    return {
        "colour": colour,
        "sex": [draw.choice("mf") for _ in range(rows)],
        "y": [draw.choices("ABC", SHARES[c])[0] for c in colour],
    }


def matrix(data: Data) -> NDArray[np.float64]:
    return np.array(
        [[c == name for name in SHARES] + [s == "m"] for c, s in zip(data["colour"], data["sex"], strict=True)]
    )


def near_the_shares(predict: Callable[[Data], NDArray[np.float64]], rows: int) -> None:
    """Within four standard errors of a share of a third of the rows, and 0.02 for the penalty, which draws them in."""
    for colour, shares in SHARES.items():
        p = predict({"colour": [colour], "sex": ["m"]})[0]
        assert np.abs(p - shares).max() < 4 * np.sqrt(0.25 / (rows / 3)) + 0.02


def a_table_of_few_rows_is_learnt() -> None:
    data = colours(1_200)
    trained = luce.train(data, "y")
    near_the_shares(trained.classifier.predict_proba, 1_200)
    assert trained.report is not None
    assert trained.report.rows == 240
    assert abs(trained.report.accuracy - 0.7) < 4 * np.sqrt(0.21 / 240)


def a_matrix_of_few_rows_is_learnt() -> None:
    data = colours(1_200)
    model = luce.SoftmaxRegression().fit(matrix(data), data["y"])
    near_the_shares(lambda row: model.predict_proba(matrix(row)), 1_200)


def a_network_of_few_rows_is_learnt() -> None:
    """Nine switches, of which one says with what chance a row is of class 1, and the others nothing."""
    generator = np.random.default_rng(3)
    x = generator.integers(0, 2, (3_000, 9)).astype(np.float32)
    y = generator.random(3_000) < np.where(x[:, 0] == 1, 0.8, 0.2)
    model = luce.NetworkClassifier((8,), epochs=60).fit(x, y)
    for switch, share in ((0, 0.2), (1, 0.8)):
        assert abs(model.predict_proba(x[x[:, 0] == switch])[:, 1].mean() - share) < 0.05


def what_one_column_settles_is_found() -> None:
    """40 towns of five rows, each of one region."""
    data: Data = {"town": [f"town {k % 40}" for k in range(200)], "y": [f"region {k % 40 % 4}" for k in range(200)]}
    trained = luce.train(data, "y")
    assert trained.report is not None
    assert trained.report.accuracy > 0.95
    assert trained.classifier.predict_proba({"town": ["town 7"]}).max() > 0.8


def many_healthy_rows_are_learnt() -> None:
    """Sixteen symptoms that only the ill have, each of them some: half of all rows are one, and healthy."""
    draw = random.Random(2)
    ill = [k % 2 == 1 for k in range(1_000)]
    data: Data = {f"symptom {j}": ["yes" if i and draw.random() < 0.3 else "no" for i in ill] for j in range(16)}
    data["y"] = ["flu" if i else "healthy" for i in ill]
    trained = luce.train(data, "y")
    assert trained.report is not None
    assert 0.4 < (trained.report.codes == 1).mean() < 0.6  # both classes are held out
    none = {name: ["no"] for name in data if name != "y"}
    assert trained.classifier.predict_proba(none)[0, 1] > 0.95


def held_out_rows_are_like_others() -> None:
    """Ten levels, each mostly of one class: the share of rows that are not of it is that of all rows, within four
    standard errors in the mean of ten seeds."""
    off = []
    for seed in range(10):
        draw = random.Random(seed)
        level = [draw.randrange(10) for _ in range(1_000)]
        data: Data = {
            "level": [f"level {k}" for k in level],
            "y": ["ab"[(k % 2) ^ (draw.random() < 0.1)] for k in level],
        }
        odd = np.array([(y == "b") ^ (k % 2 == 1) for k, y in zip(level, data["y"], strict=True)])
        report = luce.train(data, "y", seed=seed).report
        assert report is not None
        off.append(report.accuracy - (1 - odd.mean()))
    assert abs(np.mean(off)) < 4 * np.sqrt(0.09 / 200 / 10)


CASES = (
    a_table_of_few_rows_is_learnt, a_matrix_of_few_rows_is_learnt, a_network_of_few_rows_is_learnt,
    what_one_column_settles_is_found, many_healthy_rows_are_learnt, held_out_rows_are_like_others,
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_rows_equal_by_nature_are_cases_of_their_own(case: Callable[[], None]) -> None:
    case()


@pytest.mark.parametrize("case", [case for case in CASES if "network" not in case.__name__], ids=lambda c: c.__name__)
def test_equal_rows_taken_for_copies_are_found_out(case: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A network merges equal rows and keeps those of several classes together, so it is right either way."""
    for place in (luce.grouping, luce.path):
        monkeypatch.setattr(place, "dealt_as_copies", lambda codes, keys, different: (None, keys))
    with pytest.raises((AssertionError, luce.InputError)):
        case()


def test_copies_share_their_key_and_others_do_not() -> None:
    keys = np.repeat(np.arange(1, 101, dtype=np.uint64), 2)
    codes = np.repeat(np.arange(100) % 2, 2)
    codes[0] = 1 - codes[0]  # of the first two, which are equal, each has a class of its own
    out = keys_of_copies(codes, keys, MANY)
    assert len(set(out.tolist())) == 101
    assert out[0] != keys[0] and out[1] != keys[1] and out[0] != out[1]
    assert (out[2:] == keys[2:]).all()
    assert len(set(keys_of_copies(codes, keys, (2, 100))[2:].tolist())) == 198


def several_labels_of_one_text_stay_together() -> None:
    """400 texts of words by lot, each labelled three times by lot: nothing can be known of a text held out."""
    draw = random.Random(4)
    words = [f"word{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(200)]
    texts = [" ".join(draw.choice(words) for _ in range(9)) for _ in range(400)]
    liked = [draw.random() < 0.5 for _ in texts]
    rows = [
        (text, "ab"[like ^ (draw.random() < 0.1)]) for text, like in zip(texts, liked, strict=True) for _ in range(3)
    ]
    data: Data = {"text": [text for text, _ in rows], "y": [y for _, y in rows]}
    trained = luce.train(data, "y")
    assert trained.report is not None and trained.classifier.held_out is not None
    held = trained.classifier.held_out
    for right in (trained.report.accuracy, (held.probabilities.argmax(axis=1) == held.codes).mean()):
        assert abs(right - 0.5) < 4 * np.sqrt(0.25 / 80)  # as many texts are held out


def test_several_labels_of_one_text_stay_together() -> None:
    several_labels_of_one_text_stay_together()


def test_several_labels_of_one_text_dealt_one_by_one_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one: Callable[..., Any] = lambda codes, keys, different: (None, row_keys(len(keys), 0))  # noqa: E731
    monkeypatch.setattr(luce.grouping, "dealt_as_copies", one_by_one)
    with pytest.raises(AssertionError):
        several_labels_of_one_text_stay_together()


def a_network_keeps_several_labels_of_one_row_together() -> None:
    """Three people have labelled each of 200 rows, by their own lights."""
    generator = np.random.default_rng(0)
    x, codes = np.repeat(generator.normal(size=(200, 3)), 3, axis=0), generator.integers(0, 3, 600).astype(np.int32)
    rows, keys, weight = luce.network._merged(Features(600, x), codes, None, luce.network.Settings())
    train, held = luce.network._parts(codes[rows], keys, 0)
    assert len(held) > 40
    assert not set(x[rows[train], 0]) & set(x[rows[held], 0])
    assert weight.sum() == pytest.approx(len(rows))


def test_a_network_keeps_several_labels_of_one_row_together() -> None:
    a_network_keeps_several_labels_of_one_row_together()


def test_a_network_that_deals_labels_one_by_one_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luce.network, "holdout_of_groups", lambda codes, keys, *more: holdout(codes, *more))
    with pytest.raises(AssertionError):
        a_network_keeps_several_labels_of_one_row_together()


def test_calibration_keeps_several_labels_of_one_row_together(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, dealt = np.random.default_rng(0), luce.calibration.kfold_of_groups
    logits, codes = np.repeat(generator.normal(size=(200, 3)), 3, axis=0), generator.integers(0, 3, 600)
    folds: list[NDArray[np.int64]] = []
    monkeypatch.setattr(luce.calibration, "kfold_of_groups", lambda *given: folds.append(dealt(*given)) or folds[-1])
    luce.calibrate(logits, codes)
    luce.calibration.choose(logits, codes.astype(np.int32), 3, None, luce.splits.row_keys(600, 0), 1)
    together, apart = ((fold.reshape(200, 3) == fold[::3, np.newaxis]).all() for fold in folds)
    assert together and not apart


def test_copies_with_several_labels_have_the_commonest_for_their_stratum() -> None:
    keys, codes = np.array([7, 7, 7, 9, 9, 11], dtype=np.uint64), np.array([1, 0, 1, 2, 2, 0])
    kept = keys_of_copies(codes, keys, (7,))
    assert (kept == keys).all()
    strata = strata_of_copies(codes, kept)
    assert strata is not None and strata.tolist() == [1, 1, 1, 2, 2, 0]
    assert strata_of_copies(np.array([1, 1, 1, 2, 2, 0]), kept) is None


def test_equal_rows_of_several_classes_are_no_group() -> None:
    generator = np.random.default_rng(2)
    codes, keys = generator.integers(0, 3, 600), generator.integers(0, 40, 600).astype(np.uint64)
    assert len(set(keys_of_copies(codes, keys, MANY).tolist())) == 600


def test_many_equal_rows_are_told_apart() -> None:
    """More than MANY_ALIKE, and more than a fifth of their class."""
    alone = np.arange(100, 300, dtype=np.uint64)
    for equal, others, apart in ((MANY_ALIKE, 50, 1), (MANY_ALIKE + 1, 50, MANY_ALIKE + 1), (MANY_ALIKE + 1, 150, 1)):
        keys = np.concatenate((np.zeros(equal, dtype=np.uint64), alone[:others]))
        out = keys_of_copies(np.zeros(len(keys), dtype=int), keys, MANY)
        assert len(set(out[:equal].tolist())) == apart
        assert (out[equal:] == keys[equal:]).all()
    keys = np.repeat(alone, MANY_ALIKE)  # so many of each row
    assert len(set(keys_of_copies(np.zeros(len(keys), dtype=int), keys, MANY).tolist())) == len(keys)


def test_neither_the_order_of_rows_nor_the_numbers_of_classes_matter() -> None:
    generator = np.random.default_rng(0)
    codes, keys = generator.integers(0, 3, 500), generator.integers(0, 90, 500).astype(np.uint64) << np.uint64(50)
    out, order = keys_of_copies(codes, keys, MANY), generator.permutation(500)
    assert (keys_of_copies(2 - codes, keys, MANY) == out).all()
    told = sorted(zip(codes.tolist(), keys.tolist(), out.tolist(), strict=True))
    again = keys_of_copies(codes[order], keys[order], MANY)
    assert sorted(zip(codes[order].tolist(), keys[order].tolist(), again.tolist(), strict=True)) == told


def test_many_rows_are_told_apart_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    codes = generator.integers(0, 3, 5_000)
    keys = generator.integers(0, 2**64, 1_500, dtype=np.uint64)[generator.integers(0, 1_500, 5_000)]
    whole = keys_of_copies(codes, keys, MANY)
    assert (whole != keys).any() and (whole == keys).any()
    monkeypatch.setattr(luce.splits, "MANY_ROWS", 1_000)
    assert (keys_of_copies(codes, keys, MANY) == whole).all()


def test_combinations_are_counted_as_far_as_it_takes() -> None:
    keys, codes = np.repeat(np.arange(50, dtype=np.uint64), 2), np.zeros(100, dtype=int)
    assert len(set(keys_of_copies(codes, keys, iter((4, 25))).tolist())) == 100
    asked = iter((4, 26, 3, 5))
    assert (keys_of_copies(codes, keys, asked) == keys).all()
    assert next(asked) == 3  # was not asked for


def test_all_rows_equal_say_nothing() -> None:
    keys = np.full(100, 7, dtype=np.uint64)
    assert (keys_of_copies(np.arange(100) % 2, keys, (1,)) == keys).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8])
def test_different_values_are_counted_however_they_are_stored(kind: type) -> None:
    x = np.random.default_rng(4).integers(0, 4, (50, 6)).astype(kind)
    x[:, 2], x[:, 3] = 0, 3
    wanted = [len(set(column.tolist())) for column in x.T]
    assert list(features_of(x).different()) == wanted
    nowhere_zero = [count for j, count in enumerate(wanted) if j != 2]  # a column that stores nothing tells nothing
    sparse = scipy.sparse.csr_array(x.astype(np.float64))
    assert list(features_of(sparse).different()) == nowhere_zero
    sparse.data[0] = 0.0  # stored, and a zero
    assert next(features_of(sparse).different()) == len(set(sparse.toarray()[:, 0].tolist()))
