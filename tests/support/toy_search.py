"""Searches of the toy task in this process, on a copy of a database that knows the device."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import run


@dataclass(frozen=True)
class ToySearch:
    """One command line of ``nuwa-search``, run with what each test adds to it.

    Args:
        folder: The test's own; cache and bundle go there.
        base: The toy base.
        images: Its images.
        capsys: Of the test.
        more: Further words of every run.
    """

    folder: Path
    base: Path
    images: Path
    capsys: pytest.CaptureFixture[str]
    more: tuple[str, ...] = ()

    @property
    def db(self) -> str:
        return str(self.folder / "nuwa.sqlite")

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def args(self) -> list[str]:
        named = {"--base": self.base, "--data": self.images, "--db": self.db, "-o": self.bundle}
        named["--cache-dir"] = self.folder / "cache"
        return [*(str(word) for pair in named.items() for word in pair), "--json", *self.more]

    def with_args(self, *more: str) -> "ToySearch":
        return dataclasses.replace(self, more=(*self.more, *more))

    def code(self, *more: str) -> int:
        """Run it; the exit code."""
        return run(command, [*self.args, *more], prog_name="nuwa-search")

    def run(self, *more: str) -> tuple[int, dict[str, Any], str]:
        """Run it; the exit code, the answer, and what was said beside it."""
        code = self.code(*more)
        captured = self.capsys.readouterr()
        assert captured.out, captured.err  # an error answers nothing
        return code, json.loads(captured.out), captured.err

    def done(self, *more: str) -> tuple[dict[str, Any], str]:
        """Run it to a good end; the answer, and what was said beside it."""
        code, answer, told = self.run(*more)
        assert code == 0, told
        return answer, told


def toy_search_in(folder: Path, *, profiled: Path, base: Path, images: Path, capsys: Any) -> ToySearch:
    """Copy the database of a profile into ``folder`` and search there."""
    search = ToySearch(folder, base, images, capsys)
    shutil.copy(profiled, search.db)
    return search
