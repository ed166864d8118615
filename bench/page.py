"""The page of `luce serve` in Chromium: its weight, its first drawing, and from an event to new bars.

    ./dev bench page [--opened 9] [--events 100]      needs playwright and Chromium

Weight: bytes over the wire, headers and all, until the view of a digit model stands. First drawing: first contentful
paint in a browser with nothing in its cache. From an event to new bars: from a pointer event of a stroke, or from a
key, to the frame that shows the answer to a question that was asked after it; one by one (after a rest of 0.3 s), and
in a row (every 16 ms while a stroke is drawn, every 60 ms while a word is typed). The model of digits learns from 2,000
digits of MNIST where ../shared/data has them, else from as many that are made up; that of reviews from luce's own.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import luce

MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "images" / "mnist"
GOALS = {"weight, kB": 300, "first drawing, s": 0.5, "event to bars, ms": 50}
REST_MS, STROKE_MS, KEY_MS = 300, 16, 60
WORDS = "정말 재미있고 감동적이에요 그런데 결말은 지루하고 조금 실망했어요 그래도 또 보고 싶다 "

# Times of events; of questions, when they were sent; of frames, with the newest question that they show.
WATCH = """() => {
  const seen = window.seen = {events: [], frames: []};
  for (const kind of ['pointerdown', 'pointermove', 'input'])
    addEventListener(kind, event => {
      if (kind === 'input' || event.buttons) seen.events.push(event.timeStamp); }, true);
  let answered = -1;
  const fetched = window.fetch;
  window.fetch = async (...given) => {
    const sent = performance.now(), answer = await fetched(...given);
    if (String(given[0]).endsWith('/predict')) {
      const json = answer.json.bind(answer);
      answer.json = async () => {
        const found = await json();
        if (!found.explanations) answered = Math.max(answered, sent);
        return found; };
    }
    return answer;
  };
  new MutationObserver(() => {
    const shows = answered;
    requestAnimationFrame(() => { const port = new MessageChannel();  // after the frame
      port.port1.onmessage = () => seen.frames.push([performance.now(), shows]); port.port2.postMessage(0); });
  }).observe(document.querySelector('.shares'), {childList: true, subtree: true, characterData: true});
}"""


def digits() -> tuple[np.ndarray, np.ndarray]:
    if MNIST.is_dir():
        files = (MNIST / f"t10k-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1"))
        images, labels = (
            np.frombuffer(gzip.decompress(f.read_bytes()), np.uint8, offset=o)
            for f, o in zip(files, (16, 8), strict=True)
        )
        return images[: 2_000 * 784].reshape(-1, 28, 28), labels[:2_000].astype(int)
    rng = np.random.default_rng(0)
    shapes = (rng.random((10, 7, 7)) < 0.35).repeat(4, axis=1).repeat(4, axis=2)
    labels = np.arange(2_000) % 10
    return (np.clip(shapes[labels] * 255 + rng.normal(0, 30, (2_000, 28, 28)), 0, 255)).astype(np.uint8), labels


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    images, labels = digits()
    luce.train({"image": images, "digit": labels}, "digit").classifier.save(folder / "digits.luce")
    reviews = pl.read_csv(Path(luce.__file__).parent / "data" / "reviews.csv")
    luce.Classifier().fit(reviews, "sentiment").save(folder / "reviews.luce")
    files = [str(folder / f"{name}.luce") for name in ("digits", "reviews")]
    command = [sys.executable, "-m", "luce", "serve", *files, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while not (found := re.search(r"http://[\d.:]+", process.stderr.readline())):
            if process.poll() is not None:
                sys.exit("the service did not start")
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def opened(browser: Any, address: str, view: str) -> tuple[Any, float, int, int]:
    """A page in a browser that has nothing of it, its first contentful paint in s, bytes, requests."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US").new_page()
    network, sizes = page.context.new_cdp_session(page), []
    network.send("Network.enable")
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(f"{address}/#/{view}")
    page.wait_for_selector(".decision")
    page.wait_for_timeout(REST_MS)
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1e3
    return page, paint, int(sum(sizes)), len(sizes)


def waits(page: Any) -> list[float]:
    """From each event to the first frame that shows an answer to a question asked after it, in ms."""
    page.wait_for_timeout(1_000)
    found = page.evaluate("window.seen")
    page.evaluate("Object.assign(window.seen, {events: [], frames: []})")
    out = []
    for event in found["events"]:
        out.append(min((drawn - event for drawn, asked in found["frames"] if asked >= event), default=math.inf))
    return out


def stroke(page: Any, moves: int, rest: float) -> list[float]:
    page.get_by_role("button", name="Clear").click()
    box = page.locator(".board").bounding_box()
    at = [
        (
            box["x"] + box["width"] * (0.5 + 0.3 * math.cos(k / 9)),
            box["y"] + box["height"] * (0.5 + 0.3 * math.sin(k / 7)),
        )
        for k in range(moves)
    ]
    page.mouse.move(*at[0])
    page.mouse.down()
    for place in at[1:]:
        page.mouse.move(*place)
        page.wait_for_timeout(rest)
    page.mouse.up()
    return waits(page)


def typed(page: Any, keys: int, rest: float) -> list[float]:
    page.locator("textarea").fill("")
    page.locator("textarea").focus()
    page.wait_for_timeout(REST_MS)
    page.evaluate("Object.assign(window.seen, {events: [], frames: []})")
    for k in range(keys):
        page.keyboard.insert_text(WORDS[k % len(WORDS)])
        page.wait_for_timeout(rest)
    return waits(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opened", type=int, default=9, help="times that the page is opened")
    parser.add_argument("--events", type=int, default=100, help="events of each kind")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        paints, weights = [], []
        for _ in range(given.opened):
            page, paint, size, requests = opened(browser, address, "try/digits")
            paints.append(paint)
            weights.append(size)
            page.context.close()
        out["weight, kB"] = max(weights) / 1e3
        out["requests"] = requests
        out["first drawing, s"] = {"median": statistics.median(paints), "worst": max(paints)}
        for view, act, pace in (("try/digits", stroke, STROKE_MS), ("try/reviews", typed, KEY_MS)):
            page = opened(browser, address, view)[0]
            page.evaluate(WATCH)
            act(page, 10, pace)  # all that runs for the first time
            for way, rest in (("one by one", REST_MS), ("in a row", pace)):
                times = act(page, given.events, rest)
                found = {
                    "median": statistics.median(times),
                    "of 100 the 95th": sorted(times)[int(0.95 * len(times))],
                    "worst": max(times),
                    "events": len(times),
                }
                out[f"{act.__name__}, {way}, ms"] = found
            page.context.close()
        browser.close()
    print(json.dumps(out | {"goals": GOALS}, indent=2))


if __name__ == "__main__":
    main()
