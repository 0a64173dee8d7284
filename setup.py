"""Refuse to build from a tree whose links are lost; everything else is in ``pyproject.toml``."""

from pathlib import Path

from setuptools import setup

if not (Path(__file__).resolve().parent / "nuwa_search" / "core").is_dir():
    raise SystemExit(
        "error: the links in nuwa_search/ are lost, so the package would be empty\n"
        "hint: clone the repository with git, take its .tar.gz, or unpack its .zip with unzip"
    )
setup()
