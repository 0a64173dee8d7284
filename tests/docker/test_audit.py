"""The audit says when it looked nothing up, which pip-audit calls no known vulnerabilities."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

AUDIT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "docker" / "audit.py"))
FINE: dict[str, Any] = {"name": "one", "version": "1.0", "vulns": []}
HOLED: dict[str, Any] = {"name": "two", "version": "2.0", "vulns": [{"id": "PYSEC-1"}]}
LOST: dict[str, Any] = {"name": "three", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([FINE], 0, "1 of 1 packages were looked up, and none has"),
        ([FINE, HOLED, LOST], 1, "2 of 3 packages were looked up; advisories: two 2.0: PYSEC-1"),
        ([LOST], 3, "0 of 1 packages were looked up: the advisory service does not know, or did not answer for three"),
    ],
)
def test_a_report_is_judged(packages: list[dict[str, Any]], code: int, words: str) -> None:
    found = AUDIT["judge"](json.dumps({"dependencies": packages, "fixes": []}), errors="")
    assert found[0] == code
    assert words in found[1]


def test_no_report_is_no_audit() -> None:
    assert AUDIT["judge"]("", errors="ERROR: no route to host\n") == (3, "nothing was audited: ERROR: no route to host")
