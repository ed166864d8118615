"""Embeddings: float16 rows against the same in float32, the solver that keeps no logits against the one that does, and
files of embeddings from the command line and in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Run

import luce as api
from luce import _core, embeddings, inputs, objective, path, solver, strength
from luce.embeddings import Embeddings, read_embeddings, read_labels
from luce.errors import InputError
from luce.features import Features
from luce.network import NetworkClassifier
from luce.objective import FarLogits, Objective
from luce.path import Problem
from luce.table import Table

pytest_plugins = ["commands"]

Array = np.ndarray
NAMES = np.array(["cat", "dog", "elk", "fox"])


def rows_of(n: int, d: int, classes: int, seed: int = 0) -> tuple[Array, Array]:
    """Rows that lie about the mean of their class, in float16, and the classes."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(classes, d)) * (2.5 / d**0.5)
    y = rng.permutation(np.arange(n) % classes)
    return (means[y] + rng.normal(size=(n, d))).astype(np.float16), y


# --- float16 in the core ---------------------------------------------------------------------------------------------

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE = EVERY[np.isfinite(EVERY)]  # subnormal numbers and both zeros too: 63,488 of them


@pytest.mark.parametrize("columns", [8, 62])  # turned; along the rows, with columns that fill no register
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("single", [False, True])
def test_every_half_is_read_as_numpy_reads_it(columns: int, order: str, single: bool) -> None:
    half = np.asarray(FINITE.reshape(-1, columns), order=order)
    x, same = Features(len(half), half), Features(len(half), half.astype(np.float32))
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(columns, 3)), rng.normal(size=3)
    assert x.logits(weights, bias, 2, single).tobytes() == same.logits(weights, bias, 2, single).tobytes()
    assert x.hashes(0, 2).tobytes() == same.hashes(0, 2).tobytes()
    alone = np.zeros(columns)
    alone[3] = 1.0
    found = x.logits(alone[:, np.newaxis], np.zeros(1), 1)[0]
    assert np.array_equal(found, half[:, 3].astype(np.float64))  # a half is exact in double, and so is its sum with 0


def both(x: Array) -> tuple[Features, Features]:
    return Features(len(x), x), Features(len(x), x.astype(np.float32))


@pytest.mark.parametrize("columns", [5, 40])
def test_every_pass_has_the_same_bits(columns: int) -> None:
    x, y = rows_of(300, columns, 3)
    found = []
    for features in both(x):
        o = Objective(features, y.astype(np.int32), 3, 0.7)
        point = np.random.default_rng(1).normal(size=(columns + 1, 3))
        logits, step = o.logits(point), 0.1 * point
        along = np.empty_like(logits)
        rows, some = np.arange(0, 300, 7), np.arange(columns)
        parts = [
            *o.value_and_gradient(point), *o.value_and_gradient(point, single=True), *o.gradient_at(point, logits),
            *o.whole_step(point + step, logits, step, along, True), along, o.hessian_product(logits, point),
            features.transposed_product(np.ascontiguousarray(logits), 2), *features.energy(2),
            features.submatrix(rows, some, np.zeros(columns), np.ones(columns), 2),
            features.weighted_squares(rows, np.ones((2, len(rows))), 2), features.take(rows).means(),
        ]  # fmt: skip
        found.append([np.asarray(part).tobytes() for part in parts])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("columns", "classes", "how"),
    [(6, 3, {}), (40, 2, {"l2": 1e-3}), (40, 4, {"l2": 1e-3, "l1": 1e-3}), (1030, 3, {"l2": 1e-2}), (1030, 2, {})],
)  # the last two are told by their rows
def test_a_fit_to_halves_is_that_to_the_same_floats(columns: int, classes: int, how: dict[str, float]) -> None:
    x, y = rows_of(160, columns, classes)
    one, other = (api.SoftmaxRegression(**how).fit(rows, y) for rows in (x, x.astype(np.float32)))
    assert one.coef_.tobytes() == other.coef_.tobytes()
    assert one.intercept_.tobytes() == other.intercept_.tobytes()
    assert one.predict_proba(x).tobytes() == other.predict_proba(x.astype(np.float32)).tobytes()


def test_a_network_reads_halves() -> None:
    x, y = rows_of(120, 20, 3)
    one, other = (NetworkClassifier(hidden=(8,), seed=0).fit(rows, y) for rows in (x, x.astype(np.float32)))
    assert one.predict_proba(x).tobytes() == other.predict_proba(x.astype(np.float32)).tobytes()


def test_a_memory_map_is_not_copied(tmp_path: Path) -> None:
    x, y = rows_of(100, 30, 3)
    for dtype in (np.float16, np.float32):
        np.save(tmp_path / "e.npy", x.astype(dtype))
        mapped = np.load(tmp_path / "e.npy", mmap_mode="r")
        assert np.shares_memory(inputs.features_of(mapped).dense, mapped)
        assert api.SoftmaxRegression(l2=1e-2).fit(mapped, y).certificate_.converged


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_not_finite_is_found_in_any_block(
    dtype: type, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 200)
    x = np.ones((90, 7), dtype)
    assert inputs.first_beyond(x) is None
    x[61, 4] = x[70, 0] = bad
    for order in ("C", "F"):
        assert inputs.first_beyond(np.asarray(x, order=order)) == (61, 4)


# --- no logits kept --------------------------------------------------------------------------------------------------


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is more than is kept, but for the sample that a strength is chosen on."""
    monkeypatch.setattr(objective, "MOST_LOGITS", 600)
    monkeypatch.setattr(path, "MOST_LOGITS", 600)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_solver_without_logits_finds_the_same_optimum(classes: int, weighted: bool, far: None) -> None:
    """Each point is within sqrt(2 gap / l2) of the one optimum (Certificate.distance)."""
    x, y = rows_of(700, 40, classes)
    weights = np.random.default_rng(2).uniform(0.1, 3.0, len(y)) if weighted else None
    o = Objective(Features(len(x), x), y.astype(np.int32), classes, 7.0, weights)
    assert not o.keeps_logits
    method = solver._method(o, None)
    assert isinstance(method, solver.FarNewton)
    assert isinstance(method.logits, FarLogits)
    found = solver.minimise(o, 1e-8)
    known = solver.QuasiNewton(o, None)
    while known.prove().gap > 1e-8 * known.value:
        known.advance()
    reach = found.certificate.distance + (2 * known.prove().gap / 7.0) ** 0.5
    assert found.certificate.converged
    assert np.linalg.norm((found.point - known.weights)[:-1]) <= reach
    assert np.allclose(found.logits, o.logits(found.point), rtol=0, atol=1e-12)


def test_what_is_worked_out_is_that_of_logits_that_are_kept(far: None) -> None:
    x, y = rows_of(500, 12, 3)
    o = Objective(Features(len(x), x), y.astype(np.int32), 3, 1.0)
    point = np.random.default_rng(3).normal(size=(13, 3))
    logits, worked = o.logits(point), FarLogits(o, point)
    assert o.row_curvature(worked).tobytes() == o.row_curvature(logits).tobytes()
    rows = np.array([0, 3, 77, 499])
    assert objective.logits_of_rows(worked, rows).tobytes() == objective.logits_of_rows(logits, rows).tobytes()
    gap, same = o.certify(point, worked), o.certify(point, logits)
    assert gap.value == pytest.approx(same.value, rel=1e-13)  # sums of 500 rows in another order
    value, gradient = o.value_and_gradient(point, correction=np.array([0.1, -0.2, 0.1]))
    known, other = o.gradient_at(point, logits, correction=np.array([0.1, -0.2, 0.1]))
    assert value == pytest.approx(known, rel=1e-13)
    assert np.allclose(gradient, other, rtol=0, atol=1e-10)


def test_threads_change_no_bit_without_logits(far: None) -> None:
    x, y = rows_of(900, 40, 4)
    one, other = (api.SoftmaxRegression(l2=1e-2, threads=threads).fit(x, y) for threads in (1, 3))
    assert one.coef_.tobytes() == other.coef_.tobytes()


def test_many_rows_choose_their_strength_on_a_sample(far: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strength, "SAMPLE", 150)
    monkeypatch.setattr(strength, "SAMPLE_EACH", 40)
    x, y = rows_of(900, 10, 3)
    fit = api.SoftmaxRegression().fit(x, y)
    rows = fit.path_.rows
    assert rows is not None and 100 < len(rows) < 200
    assert len(fit.path_.held_out) == len(rows)
    part = strength.choose_l2(Problem(Features(len(rows), x[rows]), y[rows].astype(np.int32), 3, None))
    assert part is not None
    assert fit.l2_ * len(y) == pytest.approx(part[0].l2 * len(rows), rel=1e-12)


def test_correction_of_cross_entropy_is_checked() -> None:
    x, y = rows_of(20, 4, 3)
    o = Objective(Features(len(x), x), y.astype(np.int32), 3, 1.0)
    with pytest.raises(ValueError, match="one correction for each output"):
        o.value_and_gradient(o.start(), correction=np.zeros(2))
    assert _core.Labels(y.astype(np.int32), None, 3) is not None


# --- tables of embeddings --------------------------------------------------------------------------------------------


def test_some_rows_of_a_table_copy_nothing() -> None:
    x, y = rows_of(50, 300, 2)
    table = Table.of(Embeddings.of(x, labels=NAMES[y]))
    assert table.names == ("embedding", "label")
    from luce.schema import infer_schema, parse

    bare = table.without("label")
    schema = infer_schema(bare)
    assert [c.kind for c in schema.columns] == ["embedding"]
    assert parse(bare, schema)["embedding"] is x
    some = np.array([3, 1, 44])
    assert bare.take(some).vectors["embedding"] is x
    assert np.array_equal(parse(bare.take(some), schema)["embedding"], x[some])
    assert parse(bare, schema)["embedding"].dtype == np.float16


def test_a_wide_array_of_small_floats_is_embeddings_and_can_be_said_to_be_columns(tmp_path: Path) -> None:
    x, y = rows_of(120, 260, 2)
    model = api.Classifier().fit(x, y)
    assert [c.kind for c in model.fitted.schema.columns] == ["embedding"]
    assert model.fitted.encoder.width == 260
    p = model.predict_proba(x)
    assert p.tobytes() == model.predict_proba(x.astype(np.float32)).tobytes()
    assert model.evaluate(x, y).accuracy > 0.8
    model.save(tmp_path / "m.luce")
    assert api.load(tmp_path / "m.luce").predict_proba(x).tobytes() == p.tobytes()
    found = model.explain(x, 3)
    assert [c.column for c in found.contributions] == ["embedding"]  # one source, its numbers summed
    assert model.counterfactual(x, 3) is None
    assert [c.kind for c in api.Classifier().fit(x.astype(float)[:, :20], y).fitted.schema.columns] == ["number"] * 20
    columns = api.Classifier(kinds={"embedding": "number"}, effects="linear", l2=1e-2).fit(x[:60, :258], y[:60])
    assert {c.kind for c in columns.fitted.schema.columns} == {"number"}
    assert columns.predict(x[:5, :258]).shape == (5,)
    narrow = api.Classifier(kinds={"embedding": "embedding"}).fit(x.astype(float)[:, :20], y)
    assert [c.kind for c in narrow.fitted.schema.columns] == ["embedding"]
    assert narrow.predict(x[:, :20].astype(float)).shape == (120,)
    with pytest.raises(InputError, match=r"has 261 numbers a row, but the model was fitted on 260"):
        model.predict(np.zeros((2, 261), np.float16))
    with pytest.raises(InputError, match="row 1, column 7"):
        model.predict(np.where(np.arange(520).reshape(2, 260) == 267, np.nan, 1).astype(np.float16))


def test_logits_enter_as_the_numbers_are() -> None:
    """No scaling and no curves: the model's logits are x W + b by NumPy. Sums of 260 products of numbers near 1 in
    double are within 1e-12."""
    x, y = rows_of(150, 260, 3)
    model = api.Classifier().fit(x, NAMES[y])
    fitted = model.fitted
    coef, bias = fitted.calibrated_weights()
    z = x.astype(np.float64) @ coef.T + bias
    p = np.exp(z - z.max(axis=1, keepdims=True))
    assert np.allclose(model.predict_proba(x), p / p.sum(axis=1, keepdims=True), rtol=0, atol=1e-12)


def test_train_measures_calibrates_and_has_sets(far: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it where the rows are many: a sample for the strength, one fold held out, logits in blocks."""
    monkeypatch.setattr("luce.fitting.MOST_LOGITS", 600)
    monkeypatch.setattr("luce.fitting.LOGITS_AT_ONCE", 300)
    monkeypatch.setattr("luce.classifier.LOGITS_AT_ONCE", 300)
    monkeypatch.setattr(strength, "SAMPLE", 140)
    monkeypatch.setattr(strength, "HELD", 40)
    x, y = rows_of(800, 260, 4)
    done = api.train(x, NAMES[y])
    model = done.classifier
    assert done.report is not None and done.report.rows == 160
    held = model.held_out
    assert held is not None and held.rows is not None
    assert len(held.codes) == 80  # HELD_EACH for each class
    assert (
        np.abs(np.bincount(held.codes) / 80 - np.bincount(y) / 800).max() < 4 * (0.25 * 0.75 / 80) ** 0.5
    )  # its error
    assert np.array_equal(held.codes, y[held.rows])
    assert held.probabilities.shape == (80, 4)
    assert model.fitted.conformal is not None
    sets = model.predict_set(x, 0.9)
    assert np.mean(sets[np.arange(len(y)), y]) >= 0.9  # rows it was fitted on: easier than the promise is about
    assert done.report.accuracy > 0.6


def test_a_column_beside_embeddings() -> None:
    import polars as pl

    x, y = rows_of(150, 30, 2)
    table = Table.of(Embeddings.of(x, labels=NAMES[y]))
    from dataclasses import replace

    wider = replace(table, frame=table.frame.with_columns(pl.Series("age", np.linspace(20, 60, 150) ** 1.1)))
    model = api.Classifier(l2=1e-2).fit(wider, "label")
    assert model.fitted.encoder.sources == ["age", "embedding"]
    assert model.predict(wider).shape == (150,)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(luce: Run, tmp_path: Path) -> Path:
    x, y = rows_of(240, 30, 4)
    np.save(tmp_path / "e.npy", x)
    np.save(tmp_path / "labels.npy", NAMES[y])
    (tmp_path / "labels.txt").write_text("\n".join(NAMES[y]) + "\n")
    (tmp_path / "labels.csv").write_text("what\n" + "\n".join(f'"{name}"' for name in NAMES[y]) + "\n")
    np.save(tmp_path / "new.npy", x[:20].astype(np.float32))
    np.save(tmp_path / "new_labels.npy", NAMES[y[:20]])
    return tmp_path


def test_from_the_command_line(luce: Run, files: Path) -> None:
    ran = luce("train", "e.npy", "--labels", "labels.npy", "--out", "p.luce", "--report", "p.html")
    assert ran.code == 0, ran.err
    assert "embeddings (1): embedding" in ran.err
    assert "held out: 48 rows" in ran.out
    for other in ("labels.txt", "labels.csv"):
        assert luce("train", "e.npy", "--labels", other, "--out", "q.luce").code == 0
        assert (files / "q.luce").read_bytes() == (files / "p.luce").read_bytes()
    ran = luce("predict", "p.luce", "new.npy", "--coverage", "0.9")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == "prediction,set,p:cat,p:dog,p:elk,p:fox"
    assert len(ran.out.splitlines()) == 21
    ran = luce("evaluate", "p.luce", "new.npy", "--labels", "new_labels.npy", "--report", "r.html")
    assert ran.code == 0, ran.err
    assert "evaluated: 20 rows" in ran.out
    assert "embedding: embedding" in luce("inspect", "p.luce").out
    ran = luce("explain", "p.luce", "new.npy", "--row", "2")
    assert ran.code == 0, ran.err
    assert "30 numbers" in ran.out


def test_images_in_an_array_have_labels_too(luce: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    images = rng.integers(0, 90, (60, 12, 12)) + 120 * (np.arange(12) < 6)[np.newaxis, :, np.newaxis] * y[:, None, None]
    np.save(tmp_path / "i.npy", images.astype(np.uint8))
    np.save(tmp_path / "l.npy", y)
    assert luce("train", "i.npy", "--labels", "l.npy", "--out", "i.luce", "--holdout", 0).code == 0
    ran = luce("evaluate", "i.luce", "i.npy", "--labels", "l.npy")
    assert ran.code == 0, ran.err
    assert "accuracy 100.0 %" in ran.out


def test_odd_arrays_that_are_read(tmp_path: Path) -> None:
    x, y = rows_of(60, 20, 2)
    for name, array in (("fortran", np.asfortranarray(x)), ("big", x.astype(">f4")), ("bytes", np.abs(10 * x))):
        np.save(tmp_path / f"{name}.npy", array.astype(np.uint8) if name == "bytes" else array)
        found = read_embeddings(str(tmp_path / f"{name}.npy"), y)
        same = api.SoftmaxRegression(l2=1e-2).fit(np.asarray(array if name != "bytes" else array.astype(np.uint8)), y)
        assert api.SoftmaxRegression(l2=1e-2).fit(found.vectors, y).coef_.tobytes() == same.coef_.tobytes()
        assert bool(found.notes) == (name == "big")  # that one is copied, which is told


def damaged(folder: Path, data: bytes) -> str:
    (folder / "bad.npy").write_bytes(data)
    return "bad.npy"


def saved(folder: Path, array: Array) -> str:
    np.save(folder / "bad.npy", array, allow_pickle=True)
    return "bad.npy"


BAD: list[tuple[Callable[[Path], str], str]] = [
    (lambda f: saved(f, np.array([[1, "a"], [None, 2]], dtype=object)), "holds Python objects, which luce does not"),
    (lambda f: damaged(f, (f / "e.npy").read_bytes()[:-7]), "is cut off: its header tells of more numbers"),
    (lambda f: damaged(f, (f / "e.npy").read_bytes()[:40]), "save it again with numpy.save"),
    (lambda f: saved(f, np.zeros((0, 5))), "has 0 rows and 5 columns"),
    (lambda f: saved(f, np.zeros((240, 0), np.float16)), "has 240 rows and 0 columns"),
    (lambda f: saved(f, np.zeros(240)), "holds float64, 240; embeddings are numbers, rows x columns"),
    (lambda f: saved(f, np.zeros((2, 2, 2, 2, 2))), "2 x 2 x 2 x 2 x 2; embeddings are numbers"),
    (lambda f: saved(f, np.array([["a", "b"]])), "holds <U1"),
    (lambda f: saved(f, np.ones((240, 3), complex)), "holds complex128"),
    (lambda f: saved(f, np.ones((239, 3))), "has 239 rows, but there are 240 labels"),
    (lambda f: saved(f, np.where(np.arange(720).reshape(240, 3) == 17, np.nan, 1.0)), "nan in row 5, column 2"),
    (lambda f: saved(f, np.where(np.arange(720).reshape(240, 3) == 4, -np.inf, 1.0)), "-inf in row 1, column 1"),
]


@pytest.mark.parametrize(("make", "said"), BAD)
def test_bad_files_get_one_clear_line(make: Callable[[Path], str], said: str, luce: Run, files: Path) -> None:
    ran = luce("train", make(files), "--labels", "labels.npy", "--out", "p.luce")
    assert ran.code == 1, ran.err
    assert said in ran.err
    assert ran.err.startswith("luce: bad.npy: ")
    assert ran.err.count("\n") == 1
    assert not (files / "p.luce").exists()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.txt", "cat\n\ndog\n", "label 2: is empty"),
        ("l.csv", "cat,1\ndog,2\n", "line 1: has 2 cells; give one label a line"),
        ("l.txt", "cat\ndog\n", "but there are 2 labels"),
        ("l.txt", "cat\n" * 240, "every row has the label 'cat'"),
    ],
)
def test_bad_labels_get_one_clear_line(name: str, text: str, said: str, luce: Run, files: Path) -> None:
    (files / name).write_text(text)
    ran = luce("train", "e.npy", "--labels", name, "--out", "p.luce")
    assert ran.code == 1
    assert said in ran.err
    assert ran.err.count("\n") <= 2  # what the columns are may be told first


def test_labels_that_are_none(tmp_path: Path) -> None:
    np.save(tmp_path / "l.npy", np.zeros((3, 2)))
    with pytest.raises(InputError, match="give one number or string for each row"):
        read_labels(str(tmp_path / "l.npy"))
    np.save(tmp_path / "o.npy", np.array([None, "a"]), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        read_labels(str(tmp_path / "o.npy"))
    np.save(tmp_path / "b.npy", np.array([[True], [False]]))
    assert read_labels(str(tmp_path / "b.npy")).tolist() == [True, False]
    assert embeddings.are_embeddings(str(tmp_path / "absent.npy")) is False


def test_what_does_not_go_together(luce: Run, files: Path) -> None:
    assert luce("train", "e.npy", "--labels", "labels.npy", "--out", "p.luce").code == 0
    (files / "t.csv").write_text("a,label\n1,x\n2,y\n")
    cases = [
        (("train", "e.npy"), 2, "say which file holds the labels of e.npy: --labels FILE"),
        (("train", "e.npy", "--label", "x"), 1, "has no named columns; its labels: --labels FILE"),
        (("train", "t.csv", "--labels", "labels.npy"), 1, "goes with an .npy file"),
        (("predict", "p.luce", "t.csv"), 1, "t.csv: is no .npy file of embeddings"),
        (("evaluate", "p.luce", "new.npy"), 1, "there is no column 'label'"),
    ]
    for command, code, said in cases:
        ran = luce(*command)
        assert (ran.code, said in ran.err) == (code, True), ran
    np.save(files / "wide.npy", np.zeros((3, 31), np.float16))
    assert "has 31 numbers a row, but the model was fitted on 30" in luce("predict", "p.luce", "wide.npy").err


@pytest.mark.parametrize("power", [-40, -20, 0, 20])
def test_the_unit_of_embeddings_means_nothing(power: int) -> None:
    """By a power of 2, which rounds nothing: the penalty that is chosen goes with its square, however small that is."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    x = (rng.normal(size=(300, 260)) + np.eye(3, 260)[y] * 8).astype(np.float32)
    plain, scaled = (api.Classifier().fit(part, y).predict_proba(part) for part in (x, np.ldexp(x, power)))
    assert np.abs(plain - scaled).max() < 0.01  # two searches for a strength, each to a share of the loss
