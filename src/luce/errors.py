"""The errors that luce raises: each holds one line that says what is wrong, where, and what to do."""

from __future__ import annotations


class LuceError(Exception):
    """Any error that luce raises on purpose; `str(error)` is one line for the user."""


class InputError(LuceError, ValueError):
    """The data or an argument cannot be used as given."""


class LimitError(InputError):
    """The input is larger than a stated limit; the line names the limit."""


class ModelFileError(LuceError, ValueError):
    """A model file is broken, foreign, unreadable, or made by a newer version."""


class NotFittedError(LuceError, ValueError, AttributeError):
    """A model was asked for an answer before `fit`."""


class LuceWarning(UserWarning):
    """Something the user should know about the data or the fit; the result is still valid."""
