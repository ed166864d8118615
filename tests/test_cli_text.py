"""The commands on texts: fastText's lines, one text a line in and one answer a line out, notes on unknown texts."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from commands import Run, answers, good, kinds_of, refused

from luce import text_lines
from luce.classifier import Classifier, load

pytest_plugins = ["commands"]

WARM = "great lovely splendid charming warm brilliant happy tasty".split()
COLD = "awful boring broken cold nasty dull sad bitter".split()
FILL = "the film food hotel staff room was really and we found it very".split()
CLASSES = {"pos": WARM, "neg": COLD}


def reviews(rows: int = 120, seed: int = 0) -> list[tuple[str, str]]:
    """A class and a text of two of its words among others."""
    rng = random.Random(seed)
    out = []
    for row in range(rows):
        name = ("neg", "pos")[row % 2]
        words = rng.sample(CLASSES[name], 2) + rng.sample(FILL, 4)
        rng.shuffle(words)
        out.append((name, " ".join(words)))
    return out


def labelled(rows: list[tuple[str, str]]) -> str:
    return "".join(f"__label__{name} {text}\n" for name, text in rows)


def table(rows: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame({"sentiment": [name for name, _ in rows], "review": [text for _, text in rows]})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose only column is the text `review`."""
    path = tmp_path_factory.mktemp("text") / "m.luce"
    Classifier(threads=1).fit(table(reviews()), "sentiment").save(path)
    return path


NEW = ["a warm and tasty room", "", 'dull, "broken" and cold', "great staff"]


def expected(model: Path, texts: list[str] = NEW) -> str:
    found = load(model)
    p = found.predict_proba(pl.DataFrame({"review": texts}))
    return "".join(f"{found.classes_[k]}\t{row[k]!r}\n" for row, k in zip(p.tolist(), p.argmax(axis=1), strict=True))


# ---- fastText's files


def test_fasttext_files_need_no_label_in_train_evaluate_and_predict(luce: Run) -> None:
    Path("train.txt").write_text(labelled(reviews()))
    Path("test.txt").write_text(labelled(reviews(60, seed=1)))
    ran = good(luce("train", "train.txt", "--out", "m.luce"))
    assert "texts (1): text\n" in ran.err
    assert "accuracy" in ran.out
    assert kinds_of(luce, "m.luce") == {"text": "text"}
    report = json.loads(good(luce("evaluate", "m.luce", "test.txt", "--json")).out)
    assert report["rows"] == 60
    assert report["accuracy"] > 0.9
    found = answers(good(luce("predict", "m.luce", "test.txt")).out)
    assert np.mean([row["prediction"] == name for row, (name, _) in zip(found, reviews(60, 1), strict=True)]) > 0.9


def test_the_label_option_overrules_and_other_files_need_it(luce: Run) -> None:
    Path("train.txt").write_text(labelled(reviews()))
    refused(luce("train", "train.txt", "--label", "kind"), "no column 'kind'", "'label', 'text'")
    table(reviews()).write_csv("t.csv")
    table(reviews()).write_csv("t.txt")
    for name, told in (("t.csv", "say which column of t.csv to predict: --label COLUMN"), ("t.txt", "review")):
        ran = luce("train", name)
        assert (ran.code, ran.out) == (2, "")
        assert told in ran.err


def test_a_model_of_a_table_knows_the_columns_of_fasttext_lines(luce: Run, trained: Path) -> None:
    Path("test.txt").write_text(labelled(reviews(60, seed=1)))
    table(reviews(60, seed=1)).write_csv("test.csv")
    one, other = (json.loads(good(luce("evaluate", trained, f"test.{form}", "--json")).out) for form in ("txt", "csv"))
    assert one["log_loss"] == other["log_loss"]
    assert good(luce("predict", trained, "test.txt")).out == good(luce("predict", trained, "test.csv")).out
    good(luce("explain", trained, "test.txt", "--row", 2))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_fasttext_lines_in_many_files_are_read_as_in_one(luce: Run, trained: Path, encoding: str) -> None:
    rows, new = reviews(), reviews(60, seed=1)
    for name, found in (("train", rows), ("test", new)):
        Path(f"{name}.txt").write_text(labelled(found), encoding=encoding)
        for part in range(3):
            third = len(found) // 3
            Path(f"{name}.{part}.txt").write_text(labelled(found[part * third :][:third]), encoding=encoding)
    good(luce("train", "train.txt", "--out", "one.luce"))
    good(luce("train", "train.?.txt", "--out", "many.luce"))
    assert kinds_of(luce, "many.luce") == {"text": "text"}
    one, many = (json.loads(good(luce("evaluate", m, "test.txt", "--json")).out) for m in ("one.luce", "many.luce"))
    assert one["log_loss"] == many["log_loss"]
    # a model that knows label and text by other names
    one, many = (json.loads(good(luce("evaluate", trained, d, "--json")).out) for d in ("test.txt", "test.?.txt"))
    assert one["log_loss"] == many["log_loss"]
    # tables with columns of these names are tables
    for part in range(2):
        pl.DataFrame({"label": ["a", "b"] * 20, "text": ["x", "y"] * 20}).write_csv(f"t{part}.txt")
    assert "--label COLUMN" in luce("train", "t?.txt").err


# ---- lines


@pytest.mark.parametrize("options", [["--lines"], []])
def test_lines_in_are_lines_out(luce: Run, trained: Path, options: list[str]) -> None:
    data = "\n".join(NEW)
    ran = good(luce("predict", trained, "-", *options, stdin=data.encode()))
    assert ran.out == expected(trained)
    assert ran.err == ""
    Path("lines.txt").write_text(data + "\n")
    assert good(luce("predict", trained, "lines.txt", *options)).out == ran.out
    Path("lines.txt.gz").write_bytes(gzip.compress(data.replace("\n", "\r\n").encode()))
    assert good(luce("predict", trained, "lines.txt.gz", *options)).out == ran.out


def test_labels_before_the_texts_and_a_mark_are_dropped(luce: Run, trained: Path) -> None:
    data = "\ufeff" + "".join(f"__label__x __label__y {text}\n" for text in NEW)
    assert good(luce("predict", trained, "-", "--lines", stdin=data.encode())).out == expected(trained)


def test_a_header_that_names_the_column_is_a_table(luce: Run, trained: Path) -> None:
    frame = pl.DataFrame({"review": NEW})
    frame.write_csv("new.csv")
    shown = good(luce("predict", trained, "new.csv")).out
    for data in (frame.write_csv(), frame.write_csv(quote_style="always"), frame.write_ndjson()):
        assert good(luce("predict", trained, "-", stdin=data.encode())).out == shown
    frame.write_csv("new.txt")
    assert good(luce("predict", trained, "new.txt")).out == shown
    # --lines: the header is a text like the others
    assert good(luce("predict", trained, "new.csv", "--lines")).out.count("\n") == 5
    for data in (b"Review\nwarm\n", b"id,review\n1,warm\n"):
        refused(luce("predict", trained, "-", stdin=data), "columns are not those")


def test_top_gives_the_most_probable_classes(luce: Run, trained: Path) -> None:
    found = load(trained)
    p = found.predict_proba(pl.DataFrame({"review": NEW}))
    order = np.argsort(-p, axis=1, kind="stable")
    lines = good(luce("predict", trained, "-", "--top", 9, stdin="\n".join(NEW).encode())).out.splitlines()
    for row, line in enumerate(lines):
        cells = line.split("\t")
        assert cells[::2] == found.classes_[order[row]].tolist()
        assert [float(cell) for cell in cells[1::2]] == p[row, order[row]].tolist()
    pl.DataFrame({"review": NEW}).write_csv("new.csv")
    told = answers(good(luce("predict", trained, "new.csv", "--top", 1)).out)
    assert list(told[0]) == ["prediction", "class 1", "p 1"]
    assert [float(row["p 1"]) for row in told] == p.max(axis=1).tolist()
    assert list(answers(good(luce("predict", trained, "new.csv", "--top", 5, "--coverage", 0.5)).out)[0]) == [
        "prediction", "set", "class 1", "p 1", "class 2", "p 2",
    ]  # fmt: skip


@pytest.mark.parametrize("lines", [1, 3, 1000])
def test_blocks_keep_order_and_change_no_bit(
    luce: Run, trained: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    texts = [text for _, text in reviews(100, seed=2)]
    monkeypatch.setattr(text_lines, "BLOCK_LINES", lines)
    monkeypatch.setattr(text_lines, "_PIECE", 100)
    ran = good(luce("predict", trained, "-", "--lines", stdin="\n".join(texts).encode()))
    assert ran.out == expected(trained, texts)


def test_blocks_are_bounded_by_lines_and_by_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("abcdefghi\n" * 1000)
    monkeypatch.setattr(text_lines, "_PIECE", 50)
    for name, most in (("BLOCK_LINES", 7), ("BLOCK_BYTES", 63)):
        with monkeypatch.context() as bound, text_lines.opened(str(tmp_path / "t.txt")) as source:
            bound.setattr(text_lines, name, most)
            sizes = list(map(len, text_lines.blocks(source)))
        assert sum(sizes) == 1000
        assert max(sizes) <= 12


def test_a_block_holds_the_texts_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b" a \r\n\r\n__label__x b\rc\n\td")
    with text_lines.opened(str(tmp_path / "t.txt")) as source:
        assert list(text_lines.blocks(source)) == [[" a ", "", "b\rc", "\td"]]


@pytest.mark.parametrize(
    ("head", "table"),
    [
        ("My review\n", True), ("id;MY REVIEW", True), ('"my review"\r\n', True), ('{"My review": ""}', True),
        ("PAR1\x15", True), ("__label__x y", True), ("my reviews\n", False), ("x\nMy review\n", False), ("", False),
    ],
)  # fmt: skip
def test_what_begins_like_a_table(head: str, table: bool) -> None:
    assert text_lines.is_table(head.encode(), "My review") is table


def test_an_endless_line_is_refused(luce: Run, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MAX_LINE_BYTES", 1000)
    ran = luce("predict", trained, "-", "--lines", stdin=b"short\n" + b"x" * 300_000)
    assert ran.err.startswith("luce: standard input, line 2: is longer than MAX_LINE_BYTES")


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (b"good\nbad\nwo\xffrse\nlast", None, "line 3: is not valid utf-8 (byte 0xFF)"),
        (b"good\nbad\ncut \xea\xb0", None, "line 3: is not valid utf-8 (byte 0xEA)"),
        ("좋은\n영화\n".encode("cp949") + b"\xff\n", "cp949", "line 3: is not valid cp949 (byte 0xFF)"),
        (b"\n\n" + "가".encode() + b"\xff", None, "line 3: is not valid utf-8 (byte 0xFF)"),
        (b"good\nbad\na\0b\n", None, "line 3: a NUL byte"),
        (b"\n", "latin-0815", "no encoding is called"),
    ],
)
@pytest.mark.parametrize("piece", [2, 1 << 18])
def test_bytes_that_are_no_text_are_named_after_the_lines_before(
    luce: Run, trained: Path, monkeypatch: pytest.MonkeyPatch, piece: int, data: bytes, encoding: str | None, said: str
) -> None:
    monkeypatch.setattr(text_lines, "_PIECE", piece)
    options = [] if encoding is None else ["--encoding", encoding]
    ran = luce("predict", trained, "-", "--lines", *options, stdin=data)
    assert ran.code == 1
    assert said in ran.err
    assert ran.out.count("\n") == (0 if encoding == "latin-0815" else 2)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp949"])
def test_other_encodings(luce: Run, trained: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(text_lines, "_PIECE", 101)  # cuts characters
    texts = [f"warm 영화 {k}" for k in range(50)]
    options = ["--encoding", encoding] if encoding == "cp949" else []
    data = "\n".join(texts).encode(encoding)
    if encoding == "utf-16":
        assert good(luce("predict", trained, "-", stdin=data)).out == expected(trained, texts)
    assert good(luce("predict", trained, "-", "--lines", *options, stdin=data)).out == expected(trained, texts)


def test_nothing_in_gives_nothing_out(luce: Run, trained: Path) -> None:
    ran = good(luce("predict", trained, "-", "--lines", stdin=b""))
    assert (ran.out, ran.err) == ("", "")
    assert good(luce("predict", trained, "-", "--lines", stdin=b"\n\n")).out.count("\n") == 2


def test_class_names_cannot_break_a_line(luce: Run) -> None:
    rows = [("po\ts\n\u2028" if name == "pos" else name, text) for name, text in reviews()]
    Classifier(threads=1).fit(table(rows), "sentiment").save("m.luce")
    out = good(luce("predict", "m.luce", "-", "--lines", stdin=b"a warm great room\n")).out
    assert out.split("\t")[0] == "po s"
    assert out.count("\n") == len(out.splitlines()) == 1


def test_costs_settle_the_answer_of_a_line(luce: Run) -> None:
    Classifier(threads=1, costs={"neg": 1e9}).fit(table(reviews()), "sentiment").save("m.luce")
    name, p = good(luce("predict", "m.luce", "-", stdin=b"a warm great room\n")).out.split("\t")
    assert name == "neg"
    assert 0 < float(p) < 0.5


def test_lines_are_refused_where_they_cannot_be(luce: Run, trained: Path, patients: Path) -> None:
    refused(luce("predict", "patients.luce", "-", "--lines", stdin=b"a\n"), "--lines", "one text column")
    for options in (["--out", "a.csv"], ["--coverage", 0.9]):
        refused(luce("predict", trained, "-", *options, stdin=b"warm\n"), "read as lines", "'review'")
    refused(luce("predict", trained, "nothing.txt", "--lines"), "nothing.txt", "No such file")
    refused(luce("predict", trained, ".", "--lines"), "is a folder")
    Path("t.txt.gz").write_bytes(gzip.compress(b"warm room\n" * 1000)[:-9])
    assert "not a whole gzip file" in luce("predict", trained, "t.txt.gz").err


@pytest.mark.usefixtures("no_hang")
def test_at_a_pipe_each_line_is_answered_at_once(trained: Path) -> None:
    command = [sys.executable, "-m", "luce", "predict", str(trained), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for text in NEW:
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().decode() == expected(trained, [text])
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(10) == 0


def test_memory_stays_flat(trained: Path) -> None:
    """From a stream without an end no more is read than is answered."""

    class Endless:
        sent = 0

        def read1(self, size: int) -> bytes:
            self.sent += 1
            return b"warm room\n" * (size // 10)

        def fileno(self) -> int:
            raise OSError

    stream = Endless()
    source = text_lines.Source("here", stream)  # type: ignore[arg-type]  # all that is asked of a stream
    for _, block in zip(range(20), text_lines.blocks(source), strict=False):
        assert len(block) <= text_lines.BLOCK_LINES
    assert stream.sent <= 20 * text_lines.BLOCK_LINES * 10 // text_lines._PIECE + 1


# ---- what the model does not know


def test_unknown_texts_are_counted_once_for_the_whole_run(
    luce: Run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_lines, "BLOCK_LINES", 2)
    texts = ["warm room", "", "zzqq", "  ", "xxqq zzqq", "dull", "가나 다라"]
    ran = good(luce("predict", trained, "-", "--lines", stdin="\n".join(texts).encode()))
    said = "nothing in 3 of 5 text(s) is known to the model: is it the language it was trained on?\n"
    assert ran.err == f"note: {said}"
    frame = pl.DataFrame({"review": texts, "sentiment": ["pos", "neg"] * 3 + ["pos"]})
    frame.write_csv("new.csv")
    for command in ("predict", "evaluate"):
        assert good(luce(command, trained, "new.csv")).err == f"note: column review: {said}"
    assert "nothing in 1 of 1 text(s)" in good(luce("explain", trained, "new.csv", "--row", 3)).err
    assert "nothing in" not in good(luce("explain", trained, "new.csv", "--row", 1)).err


def test_unknown_texts_beside_other_columns_are_counted(luce: Run) -> None:
    rows = reviews()
    stars = np.random.default_rng(0).normal(size=len(rows)) + [name == "pos" for name, _ in rows]
    frame = table(rows).with_columns(stars=stars)
    frame.write_csv("t.csv")
    good(luce("train", "t.csv", "--label", "sentiment", "--as", "stars=number", "--out", "m.luce"))
    assert kinds_of(luce, "m.luce") == {"review": "text", "stars": "number"}
    frame.head(6).with_columns(review=pl.Series(["zzqq"] * 2 + ["dull"] * 4)).write_csv("new.csv")
    assert "column review: nothing in 2 of 6 text(s)" in good(luce("predict", "m.luce", "new.csv")).err
    refused(luce("predict", "m.luce", "new.csv", "--lines"), "--lines", "one text column")


# ---- train: --text, and the label swapped with the text


def test_text_is_short_for_as(luce: Run) -> None:
    rows = [(name, " ".join(text.split()[:2])) for name, text in reviews(60)]
    table([*rows, *rows]).write_csv("t.csv")
    good(luce("train", "t.csv", "--label", "sentiment", "--out", "plain.luce"))
    assert kinds_of(luce, "plain.luce") == {"review": "category"}
    good(luce("train", "t.csv", "--label", "sentiment", "--text", "review", "--out", "text.luce"))
    good(luce("train", "t.csv", "--label", "sentiment", "--as", "review=text", "--out", "as.luce"))
    assert kinds_of(luce, "text.luce") == {"review": "text"}
    assert Path("text.luce").read_bytes() == Path("as.luce").read_bytes()
    refused(luce("train", "t.csv", "--label", "sentiment", "--text", "reviews"), "did you mean 'review'")
    both = luce("train", "t.csv", "--label", "sentiment", "--text", "review", "--as", "review=category")
    refused(both, "--as review=category", "said to be text as well")


def test_a_label_that_is_text_names_the_column_that_is_meant(luce: Run) -> None:
    frame = table(reviews()).with_columns(group=pl.Series(["a", "b", "c"] * 40))
    frame.write_csv("t.csv")
    line = refused(luce("train", "t.csv", "--label", "review"), "label 'review' looks like text, not like classes")
    assert line.endswith("of about 6 words; is 'sentiment' the label? it has 2 different values\n")
    frame.rename({"sentiment": "s", "group": "class"}).write_csv("t.csv")
    refused(luce("train", "t.csv", "--label", "review"), "is 'class' the label? it has 3")
    frame.select("review", other="review").write_csv("t.csv")
    refused(luce("train", "t.csv", "--label", "review"), "looks like text", "choose another column")
    frame.with_columns(review=pl.lit("one sentence for all the rows")).write_csv("t.csv")
    refused(luce("train", "t.csv", "--label", "review"), "every row has the label")


def test_short_texts_that_come_again_are_texts_behind_labels(luce: Run) -> None:
    """400 lines of at most 128 texts of three words: as a column of a table they would be levels."""
    rng = random.Random(0)
    lines_of = [(name, f"{' '.join(rng.choices(CLASSES[name], k=2))} film") for name in ("pos", "neg") * 200]
    Path("short.txt").write_text(labelled(lines_of))
    good(luce("train", "short.txt", "--out", "short.luce"))
    assert kinds_of(luce, "short.luce") == {"text": "text"}
    Path("new.txt").write_text("lovely warm hotel\nsad cold hotel\n")
    lines = good(luce("predict", "short.luce", "new.txt", "--lines")).out.splitlines()
    assert [(line.split("\t")[0], float(line.split("\t")[1]) > 0.9) for line in lines] == [("pos", True), ("neg", True)]
    pl.DataFrame({"label": [n for n, _ in lines_of], "text": [t for _, t in lines_of]}).write_csv("short.csv")
    good(luce("train", "short.csv", "--label", "label", "--out", "levels.luce"))
    assert kinds_of(luce, "levels.luce") == {"text": "category"}, "else nothing is tested"


def test_sentences_are_texts_from_six_rows_on(luce: Run) -> None:
    table(reviews(12)).write_csv("few.csv")
    told = good(luce("train", "few.csv", "--label", "sentiment", "--holdout", 0))
    assert "texts (1): review" in told.out + told.err


def test_an_explanation_is_headed_by_for_and_against(luce: Run) -> None:
    """By no names, which may begin alike; nor is a sure answer rounded to one that is certain."""
    x = np.arange(60) % 10
    names = np.array(["customer stayed", "customer left"])[(x > 4).astype(int)]
    pl.DataFrame({"x": x * 1.5, "y": names}).write_csv("alike.csv")
    good(luce("train", "alike.csv", "--label", "y", "--out", "alike.luce"))
    shown = good(luce("explain", "alike.luce", "alike.csv")).out
    assert "against it│for it" in shown and "for customer" not in shown
    assert "(100.0 %)" not in shown and "(0.0 %)" not in shown
