"""The errors that luce raises: each holds one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import os
import sys
import warnings


class LuceError(Exception):
    """Any error that luce raises on purpose; `str(error)` is one line for the user."""


class InputError(LuceError, ValueError):
    """The data or an argument cannot be used as given."""


class KindError(InputError, TypeError):
    """The data holds things of a kind that cannot be used."""


class LimitError(InputError):
    """The input is larger than a stated limit; the line names the limit."""


class ModelFileError(LuceError, ValueError):
    """A model file is broken, foreign, unreadable, or made by a newer version."""


class FileError(LuceError, OSError):
    """A file could not be written, or is not as it was written; the line names the path, the reason, and what stands
    there now."""


class EngineError(LuceError, RuntimeError):
    """A worker of an engine did not answer in time, or could not be kept alive; the line names it."""


class NotFittedError(LuceError, ValueError, AttributeError):
    """A model was asked for an answer before `fit`."""


class LuceWarning(UserWarning):
    """Something the user should know about the data or the fit; the result is still valid."""


def warn(message: str, kind: type[Warning] = LuceWarning) -> None:
    """Warns at the line outside luce that led here, however many calls lie between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == os.path.dirname(__file__):
        frame, level = frame.f_back, level + 1
    warnings.warn(kind(message), stacklevel=level)


def inert(text: str, width: int = 60) -> str:
    """Foreign text made safe for one line of a message: at most `width` characters, control characters escaped."""
    short = text if len(text) <= width else text[: width - 3] + "..."
    if short.isprintable():
        return short
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in short)
