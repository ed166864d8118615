"""One binary, several instruction sets: the same bits with AVX2 and AVX-512, the same bounds with portable code."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import reference

import luce

SETS = ["portable", "x86_64_v3", "x86_64_v4"]

PRINT = """
import hashlib, sys, numpy as np, luce
print(luce.show_config()["instruction_set"])
for dtype in (np.float32, np.float64):
    for width in (1, 2, 3, 5, 8, 10, 15, 16, 17, 33, 100, 257):
        z = np.random.default_rng(width).normal(0, 30, (57, width)).astype(dtype)
        for function in (luce.softmax, luce.log_softmax, luce.logsumexp, luce.sigmoid, luce.log_sigmoid):
            for axis in (0, 1) if function not in (luce.sigmoid, luce.log_sigmoid) else (None,):
                out = function(z) if axis is None else function(z, axis)
                print(hashlib.sha256(np.ascontiguousarray(out).tobytes()).hexdigest())
"""


def printed(instruction_set: str, code: str = PRINT) -> list[str]:
    """What a process prints that is asked for this instruction set."""
    environment = os.environ | {"LUCE_CPU": instruction_set}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def runs(instruction_set: str) -> bool:
    """Whether this processor runs the set, by what is chosen without a wish."""
    mine = luce.show_config()["instruction_set"]
    return mine in SETS and SETS.index(instruction_set) <= SETS.index(mine)


def test_a_lesser_instruction_set_can_be_asked_for() -> None:
    assert printed("portable")[0] == "portable"
    code = "import luce; print(luce.show_config()['instruction_set'])"
    for name in SETS:
        assert printed(name, code) == ([name] if runs(name) else [luce.show_config()["instruction_set"]])


def test_avx2_and_avx512_give_the_same_bits() -> None:
    if not runs("x86_64_v4"):
        pytest.skip("this processor has no AVX-512")
    assert printed("x86_64_v3")[1:] == printed("x86_64_v4")[1:]


@pytest.mark.parametrize("instruction_set", SETS)
def test_every_instruction_set_keeps_the_bounds(instruction_set: str) -> None:
    if not runs(instruction_set):
        pytest.skip(f"this processor does not run {instruction_set}")
    code = """
import sys, numpy as np, luce
for dtype in (np.float32, np.float64):
    for width in (2, 3, 7, 16, 19):
        z = np.random.default_rng(width).normal(0, 20, width).astype(dtype)
        for function in (luce.softmax, luce.log_softmax):
            print(*[float(v).hex() for v in function(z)], sep="\\n")
"""
    found = iter([float.fromhex(text) for text in printed(instruction_set, code)])
    for dtype, bounds in ((np.float32, (0.51, 0.51)), (np.float64, (3.0, 2.5))):
        for width in (2, 3, 7, 16, 19):
            z = np.random.default_rng(width).normal(0, 20, width).astype(dtype)
            for exact, bound in zip((reference.softmax(z), reference.log_softmax(z)), bounds, strict=True):
                got = np.array([next(found) for _ in range(width)], dtype=dtype)
                assert reference.ulps(got, exact).max() <= bound


@pytest.mark.parametrize("instruction_set", SETS)
def test_every_instruction_set_works_wide_matrices_within_their_bounds(instruction_set: str) -> None:
    if not runs(instruction_set):
        pytest.skip(f"this processor does not run {instruction_set}")
    if luce.show_config()["instruction_set"] == instruction_set:
        pytest.skip("test_wide.py runs with it anyway")
    file = os.path.join(os.path.dirname(__file__), "test_wide.py")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", file]
    environment = os.environ | {"LUCE_CPU": instruction_set}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
