"""Why a run of `trtexec` failed, read from what it printed."""

import re
from collections import deque
from dataclasses import dataclass, field

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.tensorrt.failure_rules import (
    BUILDER_ENDED,
    CRASH_SIGNALS,
    FREE_MEMORY,
    MEMORY_WARNING,
    NO_IMPLEMENTATION,
    NO_KERNEL,
    RULES,
    SHELL_STATUS,
    FailureKind,
)
from nuwa_search.deploy.tensorrt.log_source import LogSource, log_lines
from nuwa_search.deploy.tensorrt.report import is_old_header, old_version_error

__all__ = ["Failure", "FailureKind", "failure_error", "read_failure"]

_ERROR = re.compile(r"\[[EF]\]|\bERROR:")
_WARNING = re.compile(r"\[W\]|\bWARNING:")
_TOLD = re.compile(r"\[[IV]\]|&&&&")
_VERBOSE = re.compile(r"\[V\]")

# Lines before a missing implementation in which a warning of memory is about that very layer: the builder
# prints one or two for each kernel it has to skip, and a layer has a handful of kernels.
_NEAR = 10

# coreutils `timeout`: 124 when the time was up, 128 + 9 when it had to kill.
_TIMED_OUT = 124
_KILLED = 137

_WRONG_USE: tuple[FailureKind, ...] = ("model", "engine", "options")


@dataclass(frozen=True)
class Failure:
    """A failed run: its kind, the line that shows it, and what to type."""

    kind: FailureKind
    line: str
    hint: str


def read_failure(source: LogSource, *, returncode: int) -> Failure:
    """Return why a run failed, in bounded memory.

    Args:
        source: Standard output and error, or the file that holds them.
        returncode: Exit status, 128 + signal for a killed process.
    """
    if returncode == _TIMED_OUT:
        hint = "the board may hang: nuwa doctor DEVICE; reboot it if trtexec stays busy"
        return Failure("timed_out", "stopped when its time was up", hint)
    seen = _Seen()
    for line in log_lines(source):
        seen.take(line.strip())
    failure = seen.failure(returncode)
    if seen.is_old:
        old = old_version_error()
        return Failure(failure.kind, f"{failure.line} ({old.message})", old.hint)
    return failure


def failure_error(failure: Failure, *, step: str) -> NuwaError:
    """Make the error for a failure: wrong input for a model, engine or option, something outside otherwise."""
    kind = NuwaError if failure.kind in _WRONG_USE else OutsideError
    return kind(f"{step} failed: {failure.line}", hint=failure.hint)


@dataclass
class _Seen:
    """The first line of each kind, and what was said about memory before a layer that no kernel fits."""

    first: dict[int, str] = field(default_factory=dict)
    first_error: str = ""
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_NEAR))
    memory_before: str = ""
    memory_anywhere: str = ""
    has_builder_ended: bool = False
    is_old: bool = False

    def take(self, line: str) -> None:
        if is_old_header(line):
            self.is_old = True
        is_error = bool(_ERROR.search(line))
        if not is_error and (_WARNING.search(line) or _TOLD.search(line)):
            self._take_told(line)
            return
        if is_error and not self.first_error:
            self.first_error = line
        if NO_IMPLEMENTATION.search(line) and not self.memory_before:
            self.memory_before = next((said for said in self.recent if MEMORY_WARNING.search(said)), "")
        self.has_builder_ended |= bool(BUILDER_ENDED.search(line))
        for index, rule in enumerate(RULES):
            if index not in self.first and rule.pattern.search(line):
                self.first[index] = line

    def _take_told(self, line: str) -> None:
        if _VERBOSE.search(line):
            return
        self.recent.append(line)
        if not self.memory_anywhere and MEMORY_WARNING.search(line):
            self.memory_anywhere = line

    def failure(self, returncode: int) -> Failure:
        for index, rule in enumerate(RULES):
            if index not in self.first:
                continue
            line = self.first[index]
            if rule.hint is NO_KERNEL:
                return self._no_kernel(line)
            return Failure(rule.kind, line, rule.hint)
        if returncode == _KILLED:
            line = "killed by the system (signal 9), which a board does when memory runs out"
            return Failure("out_of_memory", line, FREE_MEMORY)
        if returncode - 128 in CRASH_SIGNALS:
            return Failure("crash", f"ended by signal {CRASH_SIGNALS[returncode - 128]}", _hint_of("crash"))
        if self.has_builder_ended and self.memory_anywhere:
            return Failure("out_of_memory", self.memory_anywhere, FREE_MEMORY)
        if returncode in SHELL_STATUS and not self.first_error:
            kind = SHELL_STATUS[returncode]
            return Failure(kind, f"the shell there could not start it (exit status {returncode})", _hint_of(kind))
        line = self.first_error or f"exit status {returncode} and no error line"
        return Failure("unknown", line, "run again with --debug to keep the whole log")

    def _no_kernel(self, line: str) -> Failure:
        """Tell a layer that ran out of memory from one that TensorRT cannot do."""
        if self.memory_before:
            hint = FREE_MEMORY
            if "workspace" in self.memory_before:
                hint = "give the builder more room (a larger --workspace-mb), or " + FREE_MEMORY.split(", or")[0]
            return Failure("out_of_memory", f"{self.memory_before}; then: {line}", hint)
        if self.memory_anywhere:
            return Failure("model", line, f"{NO_KERNEL}; memory ran short earlier in this build, so {FREE_MEMORY} too")
        return Failure("model", line, NO_KERNEL)


def _hint_of(kind: FailureKind) -> str:
    return [rule.hint for rule in RULES if rule.kind == kind][-1]
