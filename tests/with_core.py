"""Runs tests with the package in a folder of its own: with_core.py FOLDER [pytest's arguments].

An editable install finds its own package before anything on the path; here it is kept from doing so.
"""

import importlib
import sys

sys.meta_path[:] = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
sys.path.insert(0, sys.argv[1])
found = importlib.import_module("luce").__file__
assert found.startswith(sys.argv[1]), f"the tests would run on {found}"
sys.exit(importlib.import_module("pytest").main(["-p", "no:cacheprovider", *sys.argv[2:]]))
