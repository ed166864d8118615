"""Helpers for the tests of saving: system calls that fail, and the rights of a user who is not root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int, call: int) -> list[int]:
    """Let the given call (counted from 0) of a function of `os` fail; the list holds how many calls there were."""
    true, calls = getattr(os, name), [0]

    def fail(*arguments: object, **keywords: object) -> object:
        calls[0] += 1
        if calls[0] != call + 1:
            return true(*arguments, **keywords)
        if name == "close":
            true(*arguments)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)
    return calls


@contextlib.contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Give up root's right to everything; the folders above `folder` may be closed, so paths inside are relative."""
    before = os.getcwd()
    os.chdir(folder)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        os.chdir(before)
