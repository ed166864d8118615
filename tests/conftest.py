"""What the tests share: a folder to write into, a clock that ends what hangs, and where the optional real data lie."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# scikit-learn's check of arrays of other libraries skips itself unless this was set before SciPy was imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

pytest.register_assert_rewrite("browsing", "commands", "container_bytes", "parsing", "reading")

hypothesis.settings.register_profile("luce", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("luce")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets beside a developer's checkout; tests that need it are skipped without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder ../shared/data is not here")
    return SHARED_DATA


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes bytes, or text as UTF-8, to a file of an empty folder and gives its path."""

    def write_file(data: bytes | str, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write_file


@pytest.fixture
def no_hang() -> Iterator[None]:
    """A test that waits for ever (a pipe) or scans in square time fails instead of stopping the run."""

    def alarm(*_: object) -> None:
        raise AssertionError("this test hangs")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
