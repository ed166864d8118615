"""The files of the page: every text in both languages, nothing inline, nothing from elsewhere, small, and complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pages import tree

import luce

FOLDER = Path(luce.__file__).parent / "static"
FILES = sorted(FOLDER.iterdir())
MODULES = [path for path in FILES if path.suffix == ".js"]
SUFFIXES = {".html", ".js", ".css", ".svg"}  # that the service knows the types of
MOST = 300_000  # bytes in all

WORDS = (FOLDER / "texts.js").read_text(encoding="utf-8")
TEXTS: dict[str, list[str]] = json.loads(re.search(r"TEXTS = (\{\n.*?\n\});", WORDS, re.DOTALL)[1])  # type: ignore[index]
CODE = {path.name: path.read_text(encoding="utf-8") for path in MODULES if path.name != "texts.js"}
WHOLE = "\n".join(CODE.values())
SAME = {"power", "nats", "between", "language.other", "footer"}  # that need no Hangul

IMPORT = re.compile(r'import\s+(?:\{([^}]*)\}\s+from\s+)?\(?"\./([^"]+)"')
EXPORT = re.compile(r"^export (?:async )?(?:function\*?|const|class) (\w+)", re.MULTILINE)


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_is_in_both_languages_with_the_same_places(key: str) -> None:
    english, korean = TEXTS[key]
    assert english.strip() and korean.strip()
    assert sorted(set(re.findall(r"\{\w+\}", english))) == sorted(set(re.findall(r"\{\w+\}", korean)))
    assert key == "language.other" or not re.search("[가-힣]", english)
    assert key in SAME or re.search("[가-힣]", korean)


def test_every_text_that_is_asked_for_exists() -> None:
    asked = re.findall(r'\b(?:t|say|section)\(\s*"([^"]+)"', WHOLE)
    assert len(asked) > 150
    assert [key for key in asked if key not in TEXTS] == []
    stems = re.findall(r"`([\w .]+\.)\$\{", WHOLE)
    assert [stem for stem in stems if not any(key.startswith(stem) for key in TEXTS) and stem != "model."] == []


def test_every_text_is_asked_for() -> None:
    stems = set(re.findall(r"`([\w .]+\.)\$\{", WHOLE))
    said = {key for key in TEXTS if f'"{key}"' in WHOLE or f'{key.removesuffix(".about")}"' in WHOLE}
    assert [key for key in TEXTS if key not in said and not any(key.startswith(stem) for stem in stems)] == []


def test_the_page_has_nothing_inline_and_names_files_that_exist() -> None:
    page = tree((FOLDER / "index.html").read_text(encoding="utf-8").replace("<!DOCTYPE html>", ""))
    for node in page.all():
        assert not [name for name in node.attributes if name == "style" or name.startswith("on")], node
        assert node.tag not in ("style", "base", "iframe", "object")
        if node.tag == "script":
            assert node.attributes["type"] == "module" and node.text() == ""
        for name in ("src", "href"):
            address = node.attributes.get(name, "#")
            assert address.startswith("#") or (FOLDER / address.removeprefix("static/")).is_file(), address


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_asks_for_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.suffix in SUFFIXES
    assert set(re.findall(r"\w+://[\w./-]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r'@import|url\(|["\'(]//\w', text)
    assert "/work/" not in text and "/tmp/" not in text


@pytest.mark.parametrize("name", CODE)
def test_a_module_makes_no_markup_from_text(name: str) -> None:
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc"
    assert re.findall(rf"{markup}|\beval\b|new Function|\bstyle:|\"style\"", CODE[name]) == []


@pytest.mark.parametrize("name", CODE)
def test_a_module_imports_what_is_there(name: str) -> None:
    for names, file in IMPORT.findall(CODE[name]):
        there = WORDS if file == "texts.js" else CODE[file]
        wanted = {each.strip() for each in names.split(",") if each.strip()}
        assert wanted <= set(EXPORT.findall(there)), (file, wanted)
        used = CODE[name].replace(f"{{{names}}}", "", 1)
        assert [each for each in wanted if not re.search(rf"(?<![\w.]){each}\b", used)] == [], (
            f"{name} uses all it imports"
        )


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < MOST
