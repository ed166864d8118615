"""Walks through the page in a browser, over a `luce serve` process with models of these tests: no error, no report."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import browsing
import numpy as np
import polars as pl
import pytest
from browsing import MARKS
from commands import orders

import luce

pytest_plugins = ["browsing"]
pytestmark = MARKS

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "images" / "mnist"
TOKEN = "a-token-of-this-walk"
THREE = [(0.3, 0.22), (0.5, 0.15), (0.68, 0.27), (0.62, 0.42), (0.46, 0.48), (0.64, 0.54), (0.7, 0.7), (0.52, 0.84),
         (0.29, 0.76)]  # fmt: skip
BAD = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "\u202egnp.exe", "{{7*7}}" + "y" * 300]

SHOWN = "\\u202egnp.exe"  # BAD[2] as the page has it


def table() -> pl.DataFrame:
    """Orders, with a number that most rows lack."""
    frame = orders()
    rare = [None if i % 5 else i % 7 for i in range(len(frame))]
    return frame.with_columns(pl.Series("rare", rare, dtype=pl.Int64))


KINDS = dict(zip(BAD, ("number", "category", "text"), strict=False))  # which all stay


def hostile() -> pl.DataFrame:
    """A number, a category, a text and classes whose names and cells would be markup, or turn the text around it."""
    rng = np.random.default_rng(0)
    code = np.arange(160) % 4
    return pl.DataFrame(
        {
            BAD[0]: (code + rng.normal(0, 0.4, 160)).tolist(),
            BAD[1]: [BAD[k] for k in rng.integers(0, 4, 160)],
            BAD[2]: [f"{BAD[k]} {BAD[(k + i) % 4]} word{i % 9} and {i} more of it" for i, k in enumerate(code)],
            BAD[3]: [BAD[k] for k in code],
        }
    )


@contextmanager
def serving(*files: Path) -> Iterator[str]:
    """The address of a `luce serve` process on a free port, with a token, while the block runs."""
    command = [sys.executable, "-m", "luce", "serve", *map(str, files), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"LUCE_TOKEN": TOKEN})
    assert process.stderr is not None
    try:
        lines: list[str] = []
        while not (found := re.search(r"http://[\d.:]+", "".join(lines))):
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("walk")
    reviews = pl.read_csv(Path(luce.__file__).parent / "data" / "reviews.csv")
    made = {
        "orders": luce.train(table(), "label").classifier,
        "reviews": luce.Classifier().fit(reviews, "sentiment"),
        "odd": luce.train(hostile(), BAD[3], classifier=luce.Classifier(kinds=KINDS)).classifier,
    }
    if MNIST.is_dir():
        images, labels = (
            np.frombuffer(gzip.decompress((MNIST / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=skip)
            for name, skip in (("images-idx3", 16), ("labels-idx1", 8))
        )
        some = images[: 400 * 784].reshape(-1, 28, 28), labels[:400].astype(int)
        made["digits"] = luce.Classifier(budget="1s").fit(*some)
    for name, model in made.items():
        model.save(folder / f"{name}.luce")
    return {name: folder / f"{name}.luce" for name in made}


@pytest.fixture(scope="module")
def address(models: dict[str, Path]) -> Iterator[str]:
    with serving(*models.values()) as found:
        yield found


class Walk(browsing.Opened):
    """A tab at the page of a service, which was given the token in the address."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        super().__init__(browser, **{"locale": "en-US"} | settings)
        self.address = address
        self.page.goto(f"{address}/#token={TOKEN}")
        self.page.wait_for_selector("main h1")

    def at(self, view: str) -> Any:
        self.page.goto("about:blank")  # so that no view before this one is taken for it
        self.page.goto(f"{self.address}/#/{view}")
        self.page.wait_for_selector("main h1")
        return self.page

    def shown(self) -> list[str]:
        return self.texts(".shares data")

    def quiet(self) -> bool:
        """Nothing said, nothing asked elsewhere, no markup made of data."""
        elsewhere = [url for url in self.asked if not url.startswith((self.address, "data:", "blob:"))]
        return (self.said, elsewhere, self.page.locator("main img[src=x], main script").count()) == ([], [], 0)


@pytest.fixture
def walk(browser: Any, address: str) -> Iterator[Walk]:
    found = Walk(browser, address)
    yield found
    assert found.quiet(), found.said
    found.close()


def percent(share: float) -> str:
    """As the page writes it (static/dom.js)."""
    text = f"{100 * share:.1f}"
    return ">99.9 %" if text == "100.0" and share < 1 else "<0.1 %" if text == "0.0" and share > 0 else f"{text} %"


def percents(model: luce.Classifier, row: dict[str, Any]) -> list[str]:
    return [percent(p) for p in model.predict_proba({name: [cell] for name, cell in row.items()})[0].tolist()]


def test_a_drawn_three_is_read(walk: Walk, models: dict[str, Path]) -> None:
    if "digits" not in models:
        pytest.skip("the folder ../shared/data/images/mnist is not here")
    page = walk.at("try/digits")
    box = page.locator(".board").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in THREE]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
    walk.until(lambda: walk.texts(".decision strong") == ["3"])
    walk.until(lambda: len(walk.texts(".shares .chosen")) == 1 and walk.texts(".shares .chosen .name") == ["3"])
    widths = page.eval_on_selector_all(".shares .fill", "all => all.map(each => parseFloat(each.style.width))")
    assert len(widths) == 10 and np.argmax(widths) == 3
    page.wait_for_selector(".heat-map rect")
    assert page.locator(".heat-map rect").count() == 14 * 14
    said = page.locator(".heat-map").get_attribute("aria-label")
    assert said.startswith("The image with what each part of it adds. Most of it for 3: ")
    told = re.findall(r"[+−][\d.]+", page.locator(".heat figcaption p").last.text_content())
    amount, base, whole = (float(each.replace("−", "-")) for each in told)
    assert amount + base == pytest.approx(whole, abs=0.0151)  # three numbers rounded to two decimals


def test_a_review_is_judged_letter_by_letter(walk: Walk, models: dict[str, Path]) -> None:
    model = luce.load(models["reviews"])
    page = walk.at("try/reviews")
    page.locator("textarea").focus()
    seen = []
    text = ""
    for words in ("정말 재미있고 감동적이에요", " 그런데 지루하고 최악, 실망했어요"):
        page.keyboard.type(words, delay=5)
        text += words
        wanted = percents(model, {"review": text})
        walk.until(lambda wanted=wanted: walk.shown() == wanted)  # type: ignore[misc]
        seen.append((walk.texts(".decision strong"), wanted))
    assert [answer for answer, _ in seen] == [["positive"], ["negative"]]
    page.wait_for_selector(".marked mark")
    assert "".join(walk.texts(".marked")) == text
    assert set(walk.texts(".marked mark")) & {"지루하고", "최악,", "최악", "실망했어요"}
    asked = [url for url in walk.asked if url.endswith("/predict")]
    assert 3 <= len(asked) <= len(text) + 6  # it follows while one types, but never asks more than once a letter


def test_a_form_is_filled_in_with_a_missing_value(walk: Walk, models: dict[str, Path]) -> None:
    model = luce.load(models["orders"])
    page = walk.at("try/orders")
    first = {column["name"]: column["typical"] for column in _columns(walk, "orders")} | {"rare": None}
    assert page.locator("[data-column=rare] .missing input").is_checked()  # as four rows in five
    walk.until(lambda: walk.shown() == percents(model, first))
    row = first | {"price": None, "count": 33, "member": True, "grade": "브론즈", "day": "2024-05-06"}
    page.locator("[data-column=price] .missing input").check()
    page.locator("[data-column=count] input[type=number]").fill("33")
    page.locator("[data-column=member] .pill", has_text="yes").click()
    page.locator("[data-column=grade] .pill", has_text="브론즈").click()
    page.locator("[data-column=day] input[type=date]").fill("2024-05-06")
    page.locator("[data-column=day] input[type=date]").dispatch_event("change")
    walk.until(lambda: walk.shown() == percents(model, row))
    page.wait_for_selector(".reasons")
    assert "missing" in page.locator(".reasons li", has_text="price").text_content()
    page.locator("[data-column=rare] .missing input").uncheck()
    given = float(page.locator("[data-column=rare] input[type=number]").input_value())
    walk.until(lambda: walk.shown() == percents(model, row | {"rare": given}))
    page.get_by_role("button", name="Typical row again").click()
    walk.until(lambda: walk.shown() == percents(model, first))
    walk.at("trust/reviews").wait_for_selector("text=keeps no rows held out")
    assert not [url for url in walk.asked if url.endswith("/measured")]  # its description says that there are none


def _columns(walk: Walk, name: str) -> list[dict[str, Any]]:
    script = "([name, token]) => fetch(`/v1/models/${name}`, {headers: {Authorization: token}}).then(a => a.json())"
    found: list[dict[str, Any]] = walk.page.evaluate(script, [name, f"Bearer {TOKEN}"])["columns"]
    return found


def test_softmax_is_moved_by_hand(walk: Walk) -> None:
    page = walk.at("softmax")
    sliders = page.locator(".logits input[type=range]")
    for values, shares in (((2, 2, 2), ["0.333"] * 3), ((0.25, 1.23, -0.8), ["0.249", "0.664", "0.087"])):
        for k, value in enumerate(values):
            sliders.nth(k).fill(str(value))
        assert walk.texts(".logits .share") == shares


def test_a_dropped_table_becomes_a_model(walk: Walk, tmp_path: Path) -> None:
    frame = orders(1_500)
    page = walk.at("train")
    drop = """(zone, [name, text]) => { const data = new DataTransfer();
        data.items.add(new File([text], name, {type: 'text/csv'}));
        for (const kind of ['dragenter', 'dragover', 'drop'])
            zone.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true})); }"""
    page.locator(".drop").evaluate(drop, ["My Orders.csv", frame.select("label", pl.exclude("label")).write_csv()])
    walk.until(lambda: walk.texts("#train-label option") == ["label", *frame.drop("label").columns])
    page.locator("#train-label").select_option("label")
    page.evaluate("""() => { window.told = []; new MutationObserver(() => {
        const now = document.querySelector('main [role=status]')?.textContent;
        if (now && now !== window.told.at(-1)) window.told.push(now); })
        .observe(document.querySelector('main'), {subtree: true, childList: true, characterData: true}); }""")
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_selector("h2:has-text('is ready')")
    told = page.evaluate("window.told")
    assert told[0].startswith("Sending") and any("begins" in each or each.startswith("Pass") for each in told)
    name = page.locator("h2 .name").last.text_content()
    with page.expect_download() as given:
        page.get_by_role("button", name="Save the model").click()
    given.value.save_as(tmp_path / given.value.suggested_filename)
    assert given.value.suggested_filename == f"{name}.luce"
    model = luce.load(tmp_path / f"{name}.luce")
    held = model.fitted.facts["held_out"]
    assert f"{100 * held['accuracy']:.1f} % of {held['rows']} rows held out" in page.locator("main").text_content()
    page.get_by_role("link", name="Trust", exact=True).last.click()
    page.wait_for_selector(".matrix")
    cells = [int(cell) for cell in walk.texts(".matrix tbody td")]
    assert sum(cells) == held["rows"] and sum(cells[::4]) == round(held["accuracy"] * held["rows"])
    row = {column["name"]: column["typical"] for column in _columns(walk, name)}
    walk.at(f"try/{name}")
    walk.until(lambda: walk.shown() == percents(model, row))


def test_s17_hostile_names_and_cells_are_only_text(walk: Walk) -> None:
    def holds() -> None:
        """The page is no wider than it was, and the names stand in it as they are."""
        for width in (360, 1200):
            walk.page.set_viewport_size({"width": width, "height": 900})
            assert walk.page.evaluate("document.documentElement.scrollWidth") <= width
        assert walk.quiet(), walk.said
        names = walk.texts("main bdi.name")
        assert names and not any(BAD[2] in name for name in names)  # a mark that turns the text is itself shown
        kinds = walk.page.eval_on_selector_all("main bdi.name", "all => all.map(e => getComputedStyle(e).unicodeBidi)")
        assert set(kinds) == {"isolate"}

    page = walk.at("try/odd")
    page.wait_for_selector(".why h2")
    assert walk.texts(".field-head") == [BAD[0], BAD[1], SHOWN]
    page.locator("textarea").fill(" ".join(BAD))
    page.locator("[data-column] input[type=number]").first.fill("1e9")
    page.wait_for_selector(".marked")
    page.wait_for_selector(".outside:visible")
    holds()
    page.locator("[data-column] input[type=number]").first.fill("")
    holds()
    page = walk.at("trust/odd")
    page.wait_for_selector(".matrix")
    for k in range(4):
        page.locator("#threshold-class").select_option(index=k)
    holds()
    page = walk.at("batch/odd")
    file = {"name": f"{BAD[0].replace('/', '')}.csv", "mimeType": "text/csv", "buffer": hostile().write_csv().encode()}
    page.locator("input[type=file]").set_input_files(file)
    page.wait_for_selector(".preview-table")
    holds()
    page.locator(".main-button").click()
    page.wait_for_selector(".counts")
    assert {BAD[0], SHOWN} <= set(walk.texts(".counts tbody th"))
    holds()
    page = walk.at("train")
    page.locator("input[type=file]").set_input_files(file)
    walk.until(lambda: walk.texts("#train-label option")[:3] == [BAD[0], BAD[1], SHOWN])
    assert page.locator("#train-label").input_value() == BAD[3]
    page.locator("#train-name").fill(BAD[0])
    page.locator(".main-button").click()
    assert page.evaluate("document.querySelector('#train-name').validity.patternMismatch")
    holds()
