"""One import name: the package's links lead to the folders at the top, and everything is imported through it."""

import tomllib
from importlib.metadata import files
from pathlib import Path

import pytest

import nuwa_search

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"core", "store", "deploy", "latency", "predictors", "search", "service"}


def test_links_are_relative_and_lead_to_the_folders_at_the_top() -> None:
    links = {path.name: path for path in (ROOT / "nuwa_search").iterdir() if path.is_symlink()}
    assert set(links) == FOLDERS
    for name, link in links.items():
        assert link.readlink() == Path("..") / name
        assert (link / "__init__.py").is_file()


def test_an_installation_adds_one_import_name() -> None:
    found = [path for path in files("nuwa-search") or [] if path.name == "top_level.txt"]
    assert found, "the installed distribution names no import packages: run make test, which installs it"
    assert found[0].read_text().split() == ["nuwa_search"]


def test_the_package_knows_its_version() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert nuwa_search.__version__ == told
    assert f"\n## {told} - " in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("layer", ["core", "deploy"])
def test_every_file_that_bundles_and_bases_are_made_of_is_installed(layer: str) -> None:
    """Files in folders without an ``__init__`` are in a wheel only where a pattern of their package names them."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    patterns = told.get(f"nuwa_search.{layer}", [])
    named = {path for pattern in patterns for path in (ROOT / layer).glob(pattern) if path.is_file()}
    there = {
        path for path in (ROOT / layer / "assets").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert there <= named
