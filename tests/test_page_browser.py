"""The page of the service in a browser, with canned answers: it computes, asks, draws, says what is wrong, is quiet."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsing
import numpy as np
import pytest
from browsing import MARKS
from canned import CLASSES, HOSTILE, Canned, measured, served, shares_of
from pages import CONTRAST

import luce
from luce.facts import facts

pytest_plugins = ["browsing"]
pytestmark = MARKS

MODELS = ["patients", "reviews", "digits"]
VIEWS = ["softmax", "try/patients", "try/reviews", "try/digits", "trust/patients", "batch/patients", "train"]
ROUNDED = 0.5e-3  # of a number shown with three decimals


class Opened(browsing.Opened):
    """The page at one view, over canned answers."""

    def __init__(self, browser: Any, address: str, canned: Canned, width: int = 1200, **settings: Any) -> None:
        super().__init__(browser, width, **settings)
        self.canned, self.address = canned, address
        canned.asked.clear()

    def at(self, view: str) -> Any:
        self.page.goto("about:blank")  # so that no view before this one is taken for it
        self.page.goto(f"{self.address}/#/{view}" if view else self.address)
        self.page.wait_for_selector("main h1")
        return self.page

    def quiet(self) -> bool:
        """No error and no breach of the policy; the browser itself notes each answer that is not 200."""
        return [each for each in self.said if not each.startswith("Failed to load resource")] == []


@pytest.fixture(scope="module")
def host() -> Iterator[tuple[str, Canned]]:
    rows: dict[str, list[Any]] = {"x": [float((7 * k) % 30 + 8 * (k % 3)) for k in range(240)]}
    rows |= {"y": [CLASSES[k % 3] for k in range(240)]}
    trained = luce.train(rows, "y")
    known = json.loads(json.dumps(facts(trained.classifier.fitted, trained.report), allow_nan=False))
    canned = Canned(MODELS, known)
    with served(canned) as address:
        yield address, canned


@pytest.fixture
def opened(browser: Any, host: tuple[str, Canned]) -> Iterator[Opened]:
    found = Opened(browser, *host, locale="en-US")
    yield found
    found.context.close()
    assert found.quiet(), found.said


@pytest.mark.parametrize(("width", "scheme", "locale"), [(1200, "light", "en-US"), (360, "dark", "ko-KR")])
def test_every_view_fits_stands_out_and_is_quiet(
    browser: Any, host: tuple[str, Canned], width: int, scheme: str, locale: str
) -> None:
    found = Opened(browser, *host, width=width, color_scheme=scheme, locale=locale, reduced_motion="reduce")
    for view in VIEWS:
        page = found.at(view)
        if view == "try/reviews":
            page.locator("textarea").fill("a good film")
        if view.startswith("try") and view != "try/digits":
            page.wait_for_selector(".why h2")
        page.wait_for_selector(".scores" if view.startswith("trust") else "main")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert page.evaluate(CONTRAST) == [], view
        assert found.grave_faults() == [], view
        assert page.evaluate("document.documentElement.lang") == locale[:2]
        assert page.locator("h1").count() == 1
        assert page.locator("main img").count() == 0  # names of the data make no elements
    assert found.quiet(), found.said
    found.context.close()


# --- the playground ----------------------------------------------------------


def test_the_shares_follow_the_sliders(opened: Opened) -> None:
    page = opened.at("softmax")
    assert opened.texts(".logits .share") == ["0.249", "0.664", "0.087"]
    assert [each.input_value() for each in page.locator(".class-name").all()] == ["seal", "panda", "duck"]
    first = page.locator(".logits input[type=range]").first
    first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert opened.texts(".logit-number") == ["0.30", "1.23", "−0.80"]
    page.locator("#temperature").fill("2")
    z = np.array([0.30, 1.23, -0.80]) / 2
    shown = [float(each) for each in opened.texts(".logits .share")]
    assert np.abs(shown - np.exp(z) / np.exp(z).sum()).max() <= ROUNDED + 1e-12
    assert first.get_attribute("aria-valuetext") == f"0.30, share {shown[0]:.3f}"
    page.get_by_role("button", name="Add a class").click()
    assert page.locator(".logits li").count() == 4
    page.locator(".remove").nth(1).click()
    assert page.locator(".logits li").count() == 3
    page.get_by_role("button", name="Start again").click()
    assert opened.texts(".logits .share") == ["0.249", "0.664", "0.087"]


def test_the_loss_and_its_gradient_are_those_of_the_shares(opened: Opened) -> None:
    page = opened.at("softmax")
    assert float(opened.texts(".loss-value")[0]) == pytest.approx(-np.log(0.24899), abs=1e-3)
    assert opened.texts(".gradient") == ["−0.751", "+0.664", "+0.087"]
    page.locator(".pill", has_text="panda").click()
    assert opened.texts(".gradient") == ["+0.249", "−0.336", "+0.087"]
    before = float(opened.texts(".loss-value")[0])
    page.locator("#downhill").click()
    assert float(opened.texts(".loss-value")[0]) < before
    assert opened.texts(".logit-number")[1] == "1.40"  # 1.23 + 0.5 · 0.336
    page.locator("#pair-0").fill("2")
    page.locator("#pair-1").fill("-1")
    assert opened.texts(".pair-share output") == ["0.953", "0.047"]  # sigmoid(3)


def test_the_language_is_the_browser_s_and_can_be_switched(browser: Any, host: tuple[str, Canned]) -> None:
    found = Opened(browser, *host, locale="ko-KR")
    page = found.at("softmax")
    assert [each.input_value() for each in page.locator(".class-name").all()] == ["물개", "판다", "오리"]
    page.locator(".logits input[type=range]").first.fill("2")
    page.get_by_role("button", name="English").click()
    page.wait_for_selector("h1:has-text('by hand')")
    assert found.texts(".logit-number")[0] == "2.00"  # the change of language keeps what was done
    page.reload()
    page.wait_for_selector("h1:has-text('by hand')")
    assert found.quiet()
    found.context.close()


def test_training_goes_downhill(opened: Opened) -> None:
    page = opened.at("softmax")

    def loss() -> float:
        return float(opened.texts("#plane-loss")[0])

    assert loss() == pytest.approx(np.log(3), abs=1e-4)
    losses = [loss()]
    for _ in range(4):
        page.locator("#plane-step").click()
        losses.append(loss())
    assert np.all(np.diff(losses) < 0)
    page.locator("#plane-run").click()
    opened.until(lambda: int(opened.texts("#plane-steps")[0]) > 20)
    page.locator("#plane-run").click()
    assert loss() < losses[-1]
    page.locator("#plane-reset").click()
    assert loss() == losses[0]
    page.locator("#plane-clear").click()
    page.locator(".plane").focus()
    for key in ("ArrowRight", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert opened.texts("#plane-loss") == ["1.0986"]  # one point, placed by keyboard


def test_the_arithmetic_of_the_page_is_right(opened: Opened) -> None:
    page = opened.at("softmax")
    rng = np.random.default_rng(3)
    z = rng.normal(size=5) * 40
    W, at, codes = rng.normal(size=(3, 6)), rng.uniform(-1, 1, (20, 2)), rng.integers(0, 3, 20)
    points = [{"at": a, "code": c} for a, c in zip(at.tolist(), codes.tolist(), strict=True)]
    script = """async ([z, W, points]) => { const m = await import('/static/softmax.js');
        return [m.softmax(z, 0.5), m.crossEntropy(z, 2, 0.5), m.sigmoid(-800), m.measure(W, points, true)]; }"""
    p, loss, tiny, found = page.evaluate(script, [z.tolist(), W.tolist(), points])
    assert np.allclose(p, luce.softmax(z / 0.5), rtol=1e-12, atol=0)
    assert loss == pytest.approx(-luce.log_softmax(z / 0.5)[2], rel=1e-12)
    assert tiny == 0.0
    x, y = at.T
    X = np.column_stack([np.ones(20), x, y, x * x, x * y, y * y])
    P = luce.softmax(X @ W.T)
    onehot = np.eye(3)[codes]
    assert found["loss"] == pytest.approx(-np.log(P[np.arange(20), codes]).mean(), rel=1e-12)
    assert np.allclose(found["gradient"], (P - onehot).T @ X / 20, rtol=0, atol=1e-14)
    assert found["right"] == pytest.approx((P.argmax(axis=1) == codes).mean())


# --- trying ------------------------------------------------------------------


def test_the_form_asks_as_one_changes_it(opened: Opened) -> None:
    page, canned = opened.at("try/patients"), opened.canned
    page.wait_for_selector(".why h2")
    first = {"age": 44, "temperature": 37.1, "cough": False, HOSTILE: "Oslo", "ward": None, "since": "2019-02-03"}
    assert canned.rows()[0] == first
    assert opened.texts(".shares data") == [f"{100 * p:.1f} %" for p in shares_of("patients", first)]
    page.locator("[data-column=temperature] input[type=number]").fill("39.5")
    opened.until(lambda: opened.texts(".decision strong") == ["flu"])
    widths = page.eval_on_selector_all(".shares .fill", "all => all.map(each => parseFloat(each.style.width))")
    assert np.allclose(widths, 100 * np.array(shares_of("patients", first | {"temperature": 39.5})), atol=1e-3)
    slider = page.locator("[data-column=age] input[type=range]")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.locator("[data-column=age] .missing input").check()
    page.locator(f'[data-column="{HOSTILE}"] .missing input').check()
    page.locator("[data-column=ward] select").select_option(index=3)
    opened.until(lambda: canned.rows()[-1]["ward"] == "ward 3")
    assert canned.rows()[-1] == first | {"temperature": 39.5, "age": None, HOSTILE: None, "ward": "ward 3"}
    assert slider.is_disabled()
    assert {row["age"] for row in canned.rows()} >= {44, None}
    assert page.locator(".set").text_content().startswith("At 95 % coverage: flu, ")
    page.wait_for_selector(".flip li:has-text('39.4')")
    page.locator(".why select").select_option("cold")
    opened.until(lambda: b'"against":"cold"' in canned.asked[-1][2])


def test_a_fault_stands_beside_its_field(opened: Opened) -> None:
    page = opened.at("try/patients")
    page.wait_for_selector(".why h2")
    number = page.locator("[data-column=temperature] input[type=number]")
    number.fill("99")
    page.wait_for_selector("[data-column=temperature] .field-error:has-text('no temperature')")
    assert number.get_attribute("aria-invalid") == "true"
    assert page.locator("[data-column=temperature] .outside").text_content().startswith("Outside the range")
    number.fill("")
    page.wait_for_selector("[data-column=temperature] .field-error:has-text('Give a value')")
    number.fill("38")
    opened.until(lambda: number.get_attribute("aria-invalid") is None)
    assert page.locator(".field-error:visible").count() == 0


def test_the_latest_answer_wins(opened: Opened) -> None:
    page = opened.at("try/reviews")
    waits: list[Any] = []
    page.route("**/predict", lambda route: waits.append(route))
    page.locator("textarea").fill("bad bad bad")
    opened.until(lambda: len(waits) >= 1)
    page.locator("textarea").fill("good good good")
    opened.until(lambda: len(waits) >= 2)
    for late in reversed(waits[:2]):
        late.continue_()
    page.unroute("**/predict")
    page.wait_for_selector(".decision:has-text('yes')")
    page.wait_for_timeout(150)
    assert opened.texts(".shares data")[0] == f"{100 * shares_of('reviews', {'review': 'good good good'})[0]:.1f} %"


def test_words_are_marked(opened: Opened) -> None:
    page = opened.at("try/reviews")
    page.locator("textarea").fill("a good <b>film</b> with a bad end")
    page.wait_for_selector(".marked mark")
    marks = page.eval_on_selector_all(".marked mark", "all => all.map(m => [m.className, m.textContent.trim()])")
    assert marks == [["m3", "good"], ["n3", "bad"]]
    assert page.locator(".marked b").count() == 0


def test_a_stroke_is_sent_as_a_picture_like_those_of_mnist(opened: Opened) -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    page = opened.at("try/digits")
    assert "Waiting for an image" in page.locator(".decision").text_content()
    box = page.locator(".board").bounding_box()
    for k, (x, y) in enumerate(((0.1, 0.1), (0.4, 0.1), (0.2, 0.9))):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        if not k:
            page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(".shares .chosen")
    assert opened.texts(".decision strong") == ["7"]
    kind, _, data = opened.canned.rows()[-1]["image"].partition(",")
    assert kind == "data:image/png;base64"
    found = np.asarray(image.open(io.BytesIO(base64.b64decode(data))).convert("L"), dtype=float)
    assert found.shape == (28, 28)
    rows, columns = np.nonzero(found.max(axis=1))[0], np.nonzero(found.max(axis=0))[0]
    assert np.ptp(rows) + 1 == 20 and np.ptp(columns) + 1 < 20  # the longer side fills 20
    assert found.max() > 240  # ink of a full stroke, smoothed
    middle = (np.arange(28) + 0.5 - 14) * np.ones((28, 28))
    for offset in (middle, middle.T):
        assert abs((found * offset).sum() / found.sum()) <= 0.5 + 1e-9  # moved by whole pixels
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".preview").is_hidden()
    page.locator("input[type=file]").set_input_files(
        {"name": "x.png", "mimeType": "image/png", "buffer": base64.b64decode(data)}
    )
    opened.until(lambda: len(opened.canned.rows()) > 1 and opened.canned.rows()[-1]["image"] == f"{kind},{data}")
    page.locator("input[type=file]").set_input_files({"name": "x.txt", "mimeType": "text/plain", "buffer": b"no"})
    page.wait_for_selector(".field-error:has-text('not an image')")


# --- trust, batch, train, token ----------------------------------------------


def test_the_threshold_counts_rows_held_out(opened: Opened) -> None:
    page = opened.at("trust/patients")
    page.wait_for_selector("#threshold")
    known = measured()
    p, hit = np.array(known["probabilities"]), np.array(known["codes"])
    for k, least in ((0, 0.5), (0, 0.85), (2, 0.3), (2, 0.0), (1, 1.0)):
        page.locator("#threshold-class").select_option(index=k)
        page.locator("#threshold").fill(str(least))
        called = p[:, k] >= least
        right, there = int((called & (hit == k)).sum()), int((hit == k).sum())
        precision = f"{100 * right / called.sum():.1f} %" if called.any() else "–"
        shown = [precision, f"{100 * right / there:.1f} %", f"{100 * called.mean():.1f} %"]
        assert opened.texts(".called output") == shown
    counts = [
        [int(cell) for cell in row.split()]
        for row in page.locator(".matrix tbody tr").all_inner_texts()
        for row in [row.split("\t", 1)[1]]
    ]
    assert counts == opened.canned.facts["confusion"]
    opened.at("trust/reviews")
    page.wait_for_selector("text=keeps no rows held out")


def test_a_file_is_predicted_in_parts(opened: Opened, tmp_path: Path) -> None:
    page = opened.at("batch/patients")
    rows = "".join(f'{k},36.{k % 10},"a ""b"", {k}"\n' for k in range(4500))
    file = {"name": "many.csv", "mimeType": "text/csv", "buffer": f"age,temperature,note\n{rows}".encode()}
    page.locator("input[type=file]").set_input_files(file)
    page.wait_for_selector("text=4,500 rows, 3 columns, 2 of the 6")
    assert page.locator(".preview-table tbody tr").first.locator("td").nth(2).text_content() == 'a "b", 0'
    page.get_by_role("button", name="Predict 4,500 rows").click()
    page.wait_for_selector("text=4,500 predictions")
    sent = [body.decode() for _, path, body, _ in opened.canned.asked if path.endswith("/predict")]
    assert len(sent) == 3
    assert all(each.startswith("age,temperature,note\n") for each in sent)
    assert "".join(each.partition("\n")[2] for each in sent) == rows
    assert opened.texts(".counts td:nth-child(2)") == [
        "1,501",
        "1,501",
        "1,498",
    ]  # in turn from the first, in each part
    assert opened.texts(".counts td:nth-child(4)") == ["80.0 %"] * 3
    with page.expect_download() as given:
        page.get_by_role("button", name="Save the predictions").click()
    given.value.save_as(tmp_path / "out.csv")
    lines = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert given.value.suggested_filename == "many.patients.csv"
    assert len(lines) == 4500 and list(lines[0]) == ["prediction", *(f"p:{each}" for each in CLASSES)]


def test_lines_and_images_are_predicted_too(opened: Opened) -> None:
    page = opened.at("batch/reviews")
    file = {"name": "said.txt", "mimeType": "text/plain", "buffer": b'good, really "good"\n\nbad\n'}
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Predict 2 rows").click()
    page.wait_for_selector("text=2 predictions")
    assert opened.canned.asked[-1][2] == b'review\n"good, really ""good"""\nbad\n'
    page = opened.at("batch/digits")
    images = [{"name": f"{k}.png", "mimeType": "image/png", "buffer": b"\x89PNG" + bytes([k])} for k in range(3)]
    page.locator("input[type=file]").set_input_files(images)
    page.wait_for_selector("text=3 predictions")
    assert [body for _, path, body, _ in opened.canned.asked if "digits/predict" in path] == [
        i["buffer"] for i in images
    ]
    assert opened.texts(".counts tbody th") == ["7"]


def test_records_are_cut_as_python_s_csv_reader_cuts_them(opened: Opened) -> None:
    page = opened.at("softmax")
    rng = np.random.default_rng(0)
    pieces = ["a", "", '"', ",", "\n", "한", " ", "x;y"]
    table = [["".join(rng.choice(pieces, 3)) + "." for _ in range(3)] for _ in range(60)]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(table)
    script = """async (text) => { const m = await import('/static/csv.js');
        return m.records(text).map(record => m.cells(record)); }"""
    assert page.evaluate(script, written.getvalue()) == table
    loose = '5" pipe,x\n"a""b"",\n",7" bolt\n,""\n'
    assert page.evaluate(script, loose) == list(csv.reader(io.StringIO(loose)))
    told = "async (bytes) => (await (await import('/static/csv.js')).decoded(new Blob([new Uint8Array(bytes)]))).text"
    for encoding in ("utf-8", "cp949", "utf-16"):
        assert page.evaluate(told, list("이름,값\n똠방각하,1\n".encode(encoding))) == "이름,값\n똠방각하,1\n"


def test_a_model_is_trained_from_a_file(opened: Opened) -> None:
    page = opened.at("train")
    file = {"name": "my data.csv", "mimeType": "text/csv", "buffer": b"a,b,c\n1,2,x\n"}
    page.locator("input[type=file]").set_input_files(file)
    opened.until(lambda: opened.texts("#train-label option") == ["a", "b", "c"])
    page.locator("#train-token").fill("secret")
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_selector("h2:has-text('patients is ready')")
    assert "83.0 % of 240 rows" in page.locator("main").text_content()
    trained = next(each for each in opened.canned.asked if each[1] == "/v1/train")
    assert trained[2:] == (file["buffer"], "Bearer secret")


def test_the_token_is_asked_for_and_leaves_the_address(browser: Any, host: tuple[str, Canned]) -> None:
    canned = Canned(MODELS, host[1].facts, token="a b+c")
    with served(canned) as address:
        found = Opened(browser, address, canned, locale="en-US")
        page = found.at("try/patients")
        page.locator("#token").fill("a b+c")
        page.get_by_role("button", name="Send").click()
        page.wait_for_selector(".why h2")
        fresh = Opened(browser, address, canned, locale="en-US")
        fresh.page.goto(f"{address}/#token=a%20b%2Bc")
        fresh.page.wait_for_selector(".why h2")
        assert "token" not in fresh.page.url
        assert found.quiet() and fresh.quiet()
        found.context.close()
        fresh.context.close()


def test_without_a_model_the_playground_opens(browser: Any, host: tuple[str, Canned]) -> None:
    canned = Canned([], host[1].facts)
    with served(canned) as address:
        found = Opened(browser, address, canned, locale="en-US")
        assert found.at("").locator("h1").text_content() == "Softmax, by hand"
        page = found.at("try")
        page.wait_for_selector("h1:has-text('No model is loaded')")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        assert found.quiet()
        found.context.close()
