"""One import name: the package's links lead to the folders at the top, and everything is imported through it."""

from importlib.metadata import files
from pathlib import Path

import nuwa_search

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"core", "store", "deploy", "latency", "predictors", "search", "service"}


def test_links_are_relative_and_lead_to_the_folders_at_the_top():
    links = {path.name: path for path in (ROOT / "nuwa_search").iterdir() if path.is_symlink()}
    assert set(links) == FOLDERS
    for name, link in links.items():
        assert link.readlink() == Path("..") / name
        assert (link / "__init__.py").is_file()


def test_an_installation_adds_one_import_name():
    found = [path for path in files("nuwa-search") or [] if path.name == "top_level.txt"]
    assert found, "the installed distribution names no import packages: run make test, which installs it"
    assert found[0].read_text().split() == ["nuwa_search"]


def test_the_package_knows_its_version():
    assert nuwa_search.__version__
