"""docs/serving.md: its curl lines are answered, its limits are those of the code."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
from serving import Limits, serving

import luce

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "serving.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_the_limits_are_those_of_the_code() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+)", TEXT, re.MULTILINE))
    assert told == {
        each.name: f"{each.default:g}" if isinstance(each.default, float) else str(each.default)
        for each in fields(Limits)
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_curl_line_is_answered(tmp_path: Path) -> None:
    table = re.search(r"```csv patients\.csv\n(.*?)```", TEXT, re.DOTALL)
    assert table is not None
    (tmp_path / "patients.csv").write_text(table[1], encoding="utf-8")
    luce.Classifier().fit(luce.read_file(tmp_path / "patients.csv"), "diagnosis").save(tmp_path / "patients.luce")
    lines = re.findall(r"^curl -s .*$", TEXT, re.MULTILINE)
    assert len(lines) >= 10
    with serving([tmp_path / "patients.luce"]) as served:
        for line in lines:
            words = shlex.split(line.replace("localhost:8000", f"localhost:{served.port}"))
            done = subprocess.run([*words, "-f"], cwd=tmp_path, capture_output=True, timeout=60)
            assert done.returncode == 0, line
            if "text/csv" in line:
                assert done.stdout.startswith(b"prediction,p:cold,p:flu,p:healthy\n")
            elif "/metrics" not in line:
                assert "error" not in json.loads(done.stdout)
