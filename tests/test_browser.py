"""The page in a browser: it is quiet, loads nothing, fits a phone, works by keyboard, and says what the JSON says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import browsing
import numpy as np
import polars as pl
import pytest
from browsing import MARKS
from pages import CONTRAST, agrees, at, overview

import luce
from luce.facts import facts
from luce.images import read_images
from luce.page import page
from luce.table import Table

pytest_plugins = ["browsing"]
pytestmark = MARKS

SETS = {"heart_hungarian": "num", "optdigits": "class", "stroke": "stroke"}
VIEWS = [
    (width, scheme, lang) for width in (1280, 375) for scheme in ("light", "dark") for lang in ("en", "ko")
]  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "\u202eabc", "y" * 300

NUMBERS = "els => els.map(e => [e.dataset.fact, e.textContent, e.tagName === 'DATA' ? e.value : null])"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The facts of the three sets."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data is not here")
    found = {}
    for name, label in SETS.items():
        trained = luce.train(pl.read_parquet(folder / f"{name}.parquet"), label)
        fitted = trained.classifier.fitted
        found[name] = facts(fitted, trained.report, overview=overview(fitted), source=f"{name}.parquet")
    return found


class Opened(browsing.Opened):
    """A report in the browser."""

    def __init__(self, browser: Any, file: Path, width: int, scheme: str, script: bool = True) -> None:
        super().__init__(browser, width, color_scheme=scheme, java_script_enabled=script)
        self.page.goto(file.as_uri())

    def is_quiet(self) -> bool:
        own = [url for url in self.asked if not url.startswith(("file:", "data:"))]
        return (self.said, own, len(self.asked) <= 2) == ([], [], True)


@pytest.mark.parametrize("name", SETS)
def test_the_page_is_quiet_fits_and_says_the_facts(
    browser: Any, known: dict[str, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    for width, scheme, lang in VIEWS:
        file = tmp_path / f"{lang}.html"
        file.write_text(page(known[name], lang), encoding="utf-8")
        opened = Opened(browser, file, width, scheme)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, (width, lang)
        assert lang == "ko" or opened.page.evaluate(CONTRAST) == [], scheme
        loaded = json.loads(json.dumps(known[name]))
        numbers = opened.page.eval_on_selector_all("[data-fact]", NUMBERS)
        assert len(numbers) > 150
        for path, shown, exact in numbers:
            value = at(loaded, path)
            assert value is None or agrees(shown, value), (path, shown)
            assert exact is None or json.loads(exact) == value
        assert opened.is_quiet(), (opened.said, opened.asked)
        opened.close()


def test_images_are_drawn_fit_a_phone_and_load_nothing(browser: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [("long name of a class " * 3, "b")[k % 2] for k in range(80)]
    pixels = rng.integers(0, 200, (80, 20, 30, 3), dtype=np.uint8)
    pixels[1::2, 5:12, 4:12] += 40
    data = Table.of(read_images(pixels, labels=labels))
    trained = luce.train(data, "label", classifier=luce.Classifier(l2=0.1))
    luce.write_report(tmp_path / "i.html", trained.classifier, trained.report, lang="en", data=data)
    for width, scheme in ((1280, "light"), (375, "dark")):
        opened = Opened(browser, tmp_path / "i.html", width, scheme, script=True)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        measure = "all => all.map(i => [i.naturalWidth, i.width, i.complete])"
        sizes = opened.page.eval_on_selector_all("img:not(.sheet)", measure)
        assert len(sizes) > 5
        assert all(natural == 30 and 48 <= shown <= 152 and done for natural, shown, done in sizes)
        sheets = opened.page.eval_on_selector_all("img.sheet", measure)
        assert sheets
        assert all(0 < shown <= min(natural, width) and done for natural, shown, done in sheets)
        assert opened.page.evaluate(CONTRAST) == [], scheme
        assert opened.said == []
        assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
        opened.close()


def test_sorting_and_choosing_work_by_keyboard(browser: Any, known: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    file.write_text(page(known["optdigits"], "en"), encoding="utf-8")
    opened = Opened(browser, file, 1280, "light")
    there = opened.page
    there.keyboard.press("Tab")
    assert there.evaluate("document.activeElement.className") == "skip"
    assert there.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    head = there.locator("#classes th[scope=col]").nth(4)
    head.locator("button").focus()
    for way in ("ascending", "descending"):
        there.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == way
        values = there.eval_on_selector_all(
            "#classes tbody tr", "rows => rows.map(r => Number(r.cells[4].querySelector('data').value))"
        )
        assert values == sorted(values, reverse=way == "descending")
    select = there.locator("#curves select")
    assert select.locator("option").count() == 10
    shown = "items => items.filter(i => i.offsetParent).map(i => i.querySelector('summary').textContent)"
    before = there.eval_on_selector_all("#curves .item", shown)
    select.focus()
    there.keyboard.press("ArrowDown")
    after = there.eval_on_selector_all("#curves .item", shown)
    assert len(before) == len(after) == 1
    assert before != after
    assert opened.is_quiet()
    opened.close()


def test_without_script_the_page_is_complete(browser: Any, known: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "r.html"
    file.write_text(page(known["optdigits"], "ko"), encoding="utf-8")
    opened = Opened(browser, file, 375, "light", script=False)
    assert opened.page.locator("select, button").count() == 0
    items = opened.page.locator("#curves details.item")
    assert items.count() == 10
    items.nth(9).locator("summary").click()
    assert items.nth(9).locator("svg").first.is_visible()
    opened.close()


def test_hostile_names_do_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    rows = {f"{bad}:x": [float(k % (j + 3)) for k in range(200)] for j, bad in enumerate(HOSTILE)}
    rows["<svg onload=alert(1)>"] = [HOSTILE[(k // 2) % 4] for k in range(200)]  # type: ignore[assignment]
    rows["y"] = [HOSTILE[k % 4] for k in range(200)]  # type: ignore[assignment]
    trained = luce.train(rows, "y")
    fitted = trained.classifier.fitted
    found = facts(fitted, trained.report, overview=overview(fitted), findings={h: [{h: h}] for h in HOSTILE})
    file = tmp_path / "h.html"
    file.write_text(page(found, "en"), encoding="utf-8")
    opened = Opened(browser, file, 375, "dark")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 375
    assert opened.page.locator("img").count() == 0
    assert opened.page.locator("script").count() == 1
    opened.page.locator("#classes th[scope=col] button").first.click()
    assert opened.is_quiet(), (opened.said, opened.asked)
    opened.close()
