"""The documents: their Python and their commands run as they stand, and they leave no command and no name out."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import luce
from luce.cli import cli, main
from luce.errors import LuceError, LuceWarning

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
KINDS = {"python", "sh", "console", "csv", "json", "text"}
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]


class Block(NamedTuple):
    """A fenced block: the words behind the opening fence, the number of its first line, its text."""

    words: list[str]
    line: int
    text: str


def blocks_of(text: str) -> list[Block]:
    fenced = re.finditer(r"^```([^`\n]*)\n(.*?)^```[ ]*$", text, re.MULTILINE | re.DOTALL)
    return [Block(found[1].split() or [""], text[: found.start(2)].count("\n") + 1, found[2]) for found in fenced]


def read(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def commands_in(block: Block) -> Iterator[str]:
    """The lines of a shell block that start with `luce`, behind a prompt or not; a backslash carries a line on."""
    for line in block.text.replace("\\\n", " ").splitlines():
        command = line.strip().removeprefix("$ ")
        if command.startswith("luce "):
            yield command


def run_command(command: str, folder: Path) -> None:
    """Through the shell and the console script, or in this process where the shell has nothing to do but split it."""
    words = shlex.split(command)
    if shlex.join(words) == command:
        code, said = in_this_process(words, folder)
    else:
        scripts = sysconfig.get_path("scripts")
        assert (Path(scripts) / "luce").exists(), "the console script is not installed: run `pip install -e .`"
        paths = {"PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]), "COLUMNS": "100"}
        done = subprocess.run(
            command, shell=True, cwd=folder, env={**os.environ, **paths}, capture_output=True, text=True, timeout=120
        )
        code, said = done.returncode, done.stderr
    assert code == 0, f"{command}\n{said}"


def in_this_process(words: list[str], folder: Path) -> tuple[int, str]:
    """The exit code and the standard error of a command."""
    out, said = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "100")
        patch.setattr(sys, "argv", words)
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", said)
        patch.setattr(warnings, "showwarning", warnings.showwarning)  # main() sets it; this puts it back
        with pytest.raises(SystemExit) as stop, warnings.catch_warnings(action="default"):
            main()
    said.flush()
    return stop.value.code or 0, said.buffer.getvalue().decode()


def run_document(text: str, name: str, folder: Path) -> None:
    """Write the files that a document shows, then run its Python and its commands from top to bottom."""
    blocks = blocks_of(text)
    for block in blocks:
        if block.words[0] == "csv" and len(block.words) > 1:
            (folder / block.words[1]).write_text(block.text, encoding="utf-8")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        if block.words[0] == "python":
            # Empty lines in front, so that a traceback names the line of the document.
            exec(compile("\n" * (block.line - 1) + block.text, name, "exec"), namespace)
        elif block.words[0] in ("sh", "console"):
            for command in commands_in(block):
                run_command(command, folder)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_blocks_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_document(read(document), document.name, tmp_path)


def test_the_readme_shows_python_commands_and_data() -> None:
    shown = {block.words[0] for block in blocks_of(read(README))}
    assert {"python", "csv"} <= shown
    assert shown & {"sh", "console"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_block_goes_by_unseen(document: Path) -> None:
    text = read(document)
    # An indented fence, an open one, or a kind that the runner does not know would be passed over without a word.
    assert len(re.findall("^[ >]*```", text, re.MULTILINE)) == 2 * len(blocks_of(text))
    assert {block.words[0] for block in blocks_of(text)} <= KINDS


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "bench" / "README.md"], ids=lambda path: path.name)
def test_no_mark_of_a_merge_is_left(document: Path) -> None:
    assert not re.findall(r"^(?:<{7}|={7}|>{7})(?: .*)?$", document.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_test_command_of_the_readme_is_the_one_that_is_checked() -> None:
    commands = [line for line in read(README).splitlines() if line.startswith("pip install '.[test]' && ")]
    assert len(commands) == 1
    assert commands[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_the_readme_names_every_command(command: str) -> None:
    assert re.search(rf"\bluce {re.escape(command)}\b", read(README)), f"README.md does not show `luce {command}`"


def is_error(name: str) -> bool:
    value = getattr(luce, name)
    return isinstance(value, type) and issubclass(value, (LuceError, LuceWarning))


@pytest.mark.parametrize("name", [name for name in luce.__all__ if not is_error(name)])
def test_the_documents_name_every_public_name(name: str) -> None:
    assert any(re.search(rf"\b{name}\b", read(document)) for document in DOCUMENTS), f"no document names luce.{name}"


# --- the runner itself: what is wrong in a document turns it red -----------------------------------------------------

SOUND = """
```sh
$ luce softmax 1 2 \\
    --json > answer.json
pip install luce
```
```python
import json
from pathlib import Path

answer = json.loads(Path("answer.json").read_text(encoding="utf-8"))
```
```python
assert len(answer["probabilities"]) == 2
assert Path("rows.csv").read_text(encoding="utf-8") == "a,b\\n"
```
```csv rows.csv
a,b
```
```text
plain
```
"""


def test_a_sound_document_runs_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_document(SOUND, "sound.md", tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["answer.json", "rows.csv"]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```python\nassert 1 == 2, 'never'\n```\n", "never"),
        ("```sh\nluce softmax 1 x\n```\n", "is not a number"),
        ("```console\n$ luce nothing\n```\n", "nothing"),
    ],
)
def test_a_wrong_document_is_told(tmp_path: Path, block: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        run_document(block, "wrong.md", tmp_path)


def test_a_traceback_names_the_line_of_the_document(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_document("text\n\n```python\nx = 0\n1 / x\n```\n", "wrong.md", tmp_path)
    assert traceback.extract_tb(caught.tb)[-1][:2] == ("wrong.md", 5)
