"""Freed memory stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

from nuwa_search.core import allocator

SCRIPT = """
import resource
import numpy as np
from nuwa_search.core.allocator import keep_freed_memory
if {keeps}:
    assert keep_freed_memory()
def use():
    np.ones(8_000_000)  # 64 MB, which glibc maps anew each time
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_blocks_are_not_cleared_again() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", SCRIPT.format(keeps=keeps)], env=env, check=True, capture_output=True
            ).stdout
        )
        for keeps in (False, True)
    ]
    assert faults[1] * 20 < faults[0]


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "1000"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1000")]
)
def test_who_has_decided_is_obeyed(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(allocator, "_c_library", None)  # fails when called
    assert not allocator.keep_freed_memory()


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*allocator.OWN_SETTINGS, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(allocator, "_c_library", lambda: None)
    assert not allocator.keep_freed_memory()
    allocator.give_back_memory()
