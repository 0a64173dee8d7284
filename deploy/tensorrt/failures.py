"""Why a run of `trtexec` failed, read from what it printed."""

import re
from dataclasses import dataclass
from typing import Literal

from nuwa_search.core.errors import NuwaError, OutsideError

FailureKind = Literal["out_of_memory", "disk_full", "timed_out", "model", "engine", "options", "unknown"]

# In this order: an engine build that runs out of memory often reports a missing implementation
# afterwards, and a full disk shows as a failed save.
_PATTERNS: tuple[tuple[FailureKind, re.Pattern[str]], ...] = (
    ("disk_full", re.compile(r"No space left on device|ENOSPC|Disk quota exceeded", re.IGNORECASE)),
    (
        "out_of_memory",
        re.compile(
            r"out of memory|OutOfMemory|std::bad_alloc|Cannot allocate memory|\bKilled\b|"
            r"Requested amount of GPU memory|insufficient memory",
            re.IGNORECASE,
        ),
    ),
    (
        "model",
        re.compile(
            r"No importer registered for op|Failed to parse onnx|failed to parse ONNX|UNSUPPORTED_NODE|"
            r"ModelImporter|INVALID_GRAPH",
            re.IGNORECASE,
        ),
    ),
    (
        "engine",
        re.compile(
            r"engine plan file is (?:not compatible|generated on an incompatible)|magicTag|"
            r"Version tag does not match|Failed to deserialize|Serialization assertion",
            re.IGNORECASE,
        ),
    ),
    ("options", re.compile(r"Unknown option|Unrecognized option|Model missing or format not recognized")),
)

_SEVERITY = re.compile(r"\[[EIWV]\]|&&&&")

# coreutils `timeout`: 124 when the time was up, 128 + 9 when it had to kill.
_TIMED_OUT = 124
_KILLED = 137


@dataclass(frozen=True)
class Failure:
    """A failed run: its kind and the line that shows it."""

    kind: FailureKind
    line: str


def read_failure(text: str, *, returncode: int) -> Failure:
    """Say why a run failed.

    Args:
        text: Standard output and error.
        returncode: Exit status, 128 + signal for a killed process.
    """
    if returncode == _TIMED_OUT:
        return Failure("timed_out", "stopped when its time was up")
    lines = [line.strip() for line in text.splitlines()]
    marked = [line for line in lines if "[E]" in line]
    # Lines without a severity come from the system (`Killed`, `terminate called after ...`). Warnings
    # are left out: a build that succeeds also warns of tactics skipped for want of memory.
    bare = [line for line in lines if not _SEVERITY.search(line)]
    for candidates in (marked, bare):
        for kind, pattern in _PATTERNS:
            line = next((line for line in candidates if pattern.search(line)), None)
            if line is not None:
                return Failure(kind, line)
    if returncode == _KILLED:
        return Failure("out_of_memory", "killed by the system (signal 9), which a board does when memory runs out")
    return Failure("unknown", marked[0] if marked else f"exit status {returncode} and no error line")


def failure_error(failure: Failure, *, step: str) -> NuwaError:
    """Make the error for a failure: wrong input for a model or engine, something outside otherwise."""
    message = f"{step} failed: {failure.line}"
    match failure.kind:
        case "out_of_memory":
            hint = (
                "free memory on the board (sudo systemctl isolate multi-user.target stops the desktop), "
                "add swap, or give a smaller --workspace-mb"
            )
            return OutsideError(message, hint=hint)
        case "disk_full":
            return OutsideError(message, hint="free disk space on the board (df -h shows where) and run again")
        case "timed_out":
            return OutsideError(message, hint="the board may hang: nuwa doctor DEVICE; reboot it if trtexec stays busy")
        case "model":
            return NuwaError(message, hint="export the model again with --device, so that its parser can read it")
        case "engine":
            return NuwaError(message, hint="engines fit one TensorRT version and one GPU: build it again on the board")
        case "options":
            return NuwaError(message, hint="this trtexec is of another version than planned: nuwa doctor DEVICE")
        case "unknown":
            return OutsideError(message, hint="run again with --debug to keep the whole log")
