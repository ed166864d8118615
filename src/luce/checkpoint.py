"""Checkpoints of a training: two files that take turns, so that one is whole whatever happens (docs/network.md).

`path` and `path.1` are containers (docs/model-file.md). Each says what it is of: the data, the settings, the version.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luce.atomic_file import possible_name, reason_of
from luce.container import read_container, write_container
from luce.errors import InputError, ModelFileError, inert, warn

KIND = "checkpoint of a training"
EVERY = 10.0  # seconds between two
Arrays = Mapping[str, NDArray[Any]]


def names_of(path: str) -> tuple[str, str]:
    """The two files."""
    return path, f"{path}.1"


class Checkpoint:
    """The newest whole checkpoint at a path, and the place of the next: arrays and facts, to the bit.

    settings, data: what a training is of, as JSON holds it; `digest` in data stands for all that has no name.
    """

    def __init__(
        self, path: str | os.PathLike[str], settings: Mapping[str, object], data: Mapping[str, object]
    ) -> None:
        from importlib.metadata import version  # 20 ms that `import luce` need not wait for

        self.names = names_of(possible_name(path))
        self.of = {"kind": KIND, "luce_version": version("luce"), "settings": dict(settings), "data": dict(data)}
        self.turn = 0
        self.next = 0

    def load(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """The arrays and facts that were saved last; None where there is no file.

        A damaged file is left out, with a warning, if the other is whole. Raises ModelFileError if none is, InputError
        for a checkpoint of other data, settings or another version, and for a file that is none.
        """
        found: list[tuple[int, int, dict[str, NDArray[Any]], dict[str, Any]]] = []
        faults: list[ModelFileError] = []
        for place, name in enumerate(self.names):
            if not os.path.lexists(name):
                continue
            try:
                arrays, facts = read_container(name)
            except ModelFileError as error:
                faults.append(error)
                continue
            turn = facts.get("turn")
            if facts.get("kind") != KIND or not isinstance(turn, int) or not isinstance(facts.get("training"), dict):
                raise InputError(f"{inert(name, 4096)} is no checkpoint: give checkpoint another name")
            found.append((turn, place, arrays, facts))
        if not found:
            if faults:
                raise ModelFileError(f"{faults[0]}; no other checkpoint is whole: remove it, or give another name")
            return None
        self.turn, place, arrays, facts = max(found, key=lambda each: each[0])
        shown = inert(self.names[place], 4096)
        for fault in faults:
            warn(f"a checkpoint is damaged: {fault}; the training goes on from the other, {shown}")
        differ = self._differences(facts)
        if differ:
            there = [inert(name, 4096) for name in self.names if os.path.lexists(name)]
            raise InputError(
                f"{shown} is the checkpoint of another training ({'; '.join(differ)}): fit as then, or remove "
                f"{' and '.join(there)}, or give another name"
            )
        self.next = 1 - place
        try:
            dtypes: Any = facts.get("dtypes", {})
            numbers = {name: words.view(dtypes.get(name, "float32")).copy() for name, words in arrays.items()}
            return numbers, _heard(facts["training"])
        except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
            raise ModelFileError(f"{shown}: no such training: {error}") from error

    def _differences(self, facts: Mapping[str, Any]) -> list[str]:
        then, now = facts["luce_version"], self.of["luce_version"]
        differ = [] if then == now else [f"luce was {inert(str(then))}, is {now}"]
        for what in ("settings", "data"):
            old, new = facts.get(what), self.of[what]
            if not isinstance(old, dict) or not isinstance(new, dict):
                return [*differ, f"no {what} are told"]
            names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name) and name != "digest"]
            differ += [f"{inert(name)} was {inert(str(old.get(name)))}, is {new.get(name)}" for name in names]
            if not names and old.get("digest") != new.get("digest"):
                differ.append(f"the {what} have other numbers, labels or weights")
        return differ

    def save(self, arrays: Arrays, facts: Mapping[str, object]) -> None:
        """Replaces the older of the two files. Raises ModelFileError, with both as they were, if it cannot."""
        words = {name: _bits(numbers) for name, numbers in arrays.items()}
        dtypes = {name: numbers.dtype.name for name, numbers in arrays.items() if numbers.dtype != np.float32}
        told = {**self.of, "turn": self.turn + 1, "dtypes": dtypes, "training": _said(facts)}
        write_container(self.names[self.next], words, told)
        self.turn, self.next = self.turn + 1, 1 - self.next

    def remove(self) -> None:
        """Both files, at the end of what they are of."""
        for name in self.names:
            try:
                with suppress(FileNotFoundError):
                    os.unlink(name)
            except OSError as error:
                warn(f"{inert(name, 4096)}: the checkpoint of a finished training is left: {reason_of(error)}")


def _bits(numbers: NDArray[Any]) -> NDArray[Any]:
    """Floats as whole numbers: a container takes none that is not finite."""
    words = {"float32": np.int32, "float64": np.int64, "uint64": np.int64}.get(numbers.dtype.name)
    return np.ascontiguousarray(numbers) if words is None else np.ascontiguousarray(numbers).view(words)


def _said(value: Any) -> Any:
    """Floats of JSON as texts, {"float": "0x1.8p+0"}, as JSON has none that is not finite."""
    if isinstance(value, float):
        return {"float": float(value).hex()}
    if isinstance(value, Mapping):
        return {name: _said(each) for name, each in value.items()}
    return [_said(each) for each in value] if isinstance(value, (list, tuple)) else value


def _heard(value: Any) -> Any:
    """What `_said` was given."""
    if isinstance(value, dict):
        if set(value) == {"float"}:
            return float.fromhex(value["float"])
        return {name: _heard(each) for name, each in value.items()}
    return [_heard(each) for each in value] if isinstance(value, list) else value
