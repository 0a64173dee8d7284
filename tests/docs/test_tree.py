"""The list of folders is up to date."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_folder_is_listed() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_tree.py"))
    wanted = script["make_tree"](ROOT)
    assert (ROOT / "docs" / "tree.md").read_text() == wanted, "run: python docs/make_tree.py"
