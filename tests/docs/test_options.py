"""The table of options is up to date."""

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_option_is_described() -> None:
    script = runpy.run_path(str(DOCS / "make_options.py"))
    wanted = script["make_options"](script["OPTIONS"])
    assert (DOCS / "options.md").read_text() == wanted, "run: python docs/make_options.py"
