"""The line of the house: no module imports a later one, `import luce` is light, public names say what they are."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import luce

# From the foundations to the door; `_core` is the compiled extension, `__init__` what `import luce` says.
LINE = [
    "_core", "errors", "png", "atomic_file", "store", "lock", "container", "checkpoint", "run", "arrays", "functional",
    "features", "splits", "intervals", "scored", "metrics", "objective", "metric", "steps", "row_steps", "block_steps",
    "solver", "path", "strength", "shard", "engine", "ray_engine", "distributed", "inputs", "calibration", "conformal",
    "decision", "inference", "estimator", "linear", "training", "network", "audit", "text_source", "delimited",
    "json_lines", "labelled_lines", "columnar", "reader", "blocks", "text_lines", "idx", "pixels", "image_files",
    "images", "embeddings", "cells", "table", "schema", "gather", "labels", "grouping", "curves", "text", "patches",
    "encoder", "vast", "interactions", "choice", "heads", "fitted", "strangers", "check", "compact", "wording",
    "pictures", "probe", "hidden", "effects", "marks", "explain", "counterfactual", "model_file", "report", "fitting",
    "classifier", "trial", "suspects", "alone", "twins", "hints", "findings", "doctor", "gallery", "facts", "markup",
    "phrases", "words", "svg", "sections", "portrait", "thumbnails", "page", "plain", "prediction", "hosting", "form",
    "journal", "answers", "oip", "openapi", "batching", "guard", "door", "workshop", "server", "__init__", "terminal",
    "sources", "options", "cli", "__main__",
]  # fmt: skip

# Installed for files, frames, the terminal and the tests; a plain `import luce` must not wait for any of them.
HEAVY = ["polars", "pandas", "scipy", "sklearn", "click", "rich", "narwhals", "pyarrow", "torch", "PIL",
         "ray", "starlette", "uvicorn", "msgspec", "httptools", "uvloop"]  # fmt: skip

SOURCE = Path(luce.__file__).parent
MODULES = sorted(path.stem for path in SOURCE.glob("*.py"))


def imports_of(module: str) -> Iterator[tuple[str, bool]]:
    """Each module of luce that a module imports, wherever the import stands, and whether a function holds it."""
    tree = ast.parse((SOURCE / f"{module}.py").read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}.py, line {node.lineno}: imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((found, id(node) in inside) for name in names if (found := module_named(name)))


def module_named(name: str) -> str | None:
    """The module of luce in a dotted name: `luce.cells.nfc` is in cells, `luce.softmax` is said by __init__."""
    package, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    if package != "luce":
        return None
    return first if first in MODULES or first == "_core" else "__init__"


def test_the_line_names_every_module_once() -> None:
    assert sorted(LINE) == sorted([*MODULES, "_core"])


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_before_it(module: str) -> None:
    before = LINE[: LINE.index(module)]
    assert [name for name, _ in imports_of(module) if name not in before] == []


def test_imports_are_found_wherever_they_stand() -> None:
    assert ("errors", False) in imports_of("reader")  # at the top
    assert ("fitted", False) in imports_of("terminal")  # for annotations
    assert ("__init__", True) in imports_of("cli")  # in a function
    assert ("_core", False) in imports_of("functional")
    assert module_named("lucent.reader") is None


def test_import_luce_needs_numpy_and_the_core_alone() -> None:
    code = "import json, sys, luce; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = json.loads(done.stdout)
    assert {"numpy", "luce._core"} <= set(loaded)
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize("name", luce.__all__)
def test_every_public_name_exists_and_explains_itself(name: str) -> None:
    assert (getattr(luce, name).__doc__ or "").strip()


def test_public_names_are_sorted_and_named_once() -> None:
    assert luce.__all__ == sorted(set(luce.__all__))
