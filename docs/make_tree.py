"""Write ``docs/tree.md``: one line for every folder of modules, from its ``__init__`` docstring.

python docs/make_tree.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "docs" / "tree.md"
PACKAGES = (
    "nuwa_search/lab",
    "nuwa_search/testing",
    "service",
    "search",
    "predictors",
    "latency",
    "deploy",
    "store",
    "core",
    "benchmarks",
)
HEAD = """# Where things are

One line per folder, taken from its docstring by `python docs/make_tree.py` (a test compares). A module's own first
line says what it holds. Tests mirror the packages.

| folder | what lives there |
|---|---|
"""


def make_tree(root: Path) -> str:
    """Describe all folders of modules below ``root`` in Markdown.

    Raises:
        ValueError: If a module has no docstring.
    """
    rows = []
    for package in PACKAGES:
        for folder in sorted({path.parent for path in (root / package).rglob("*.py")}):
            if "versions" in folder.parts:  # migrations: never read, only added to
                continue
            modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
            for path in modules:
                _first_line(path)
            init = folder / "__init__.py"
            about = _first_line(init) if init.exists() and modules else ""
            if modules:
                rows.append(f"| `{folder.relative_to(root)}/` | {about} |\n")
    return HEAD + "".join(rows)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    if docstring is None:
        if path.name == "__init__.py":
            return ""
        raise ValueError(f"{path} has no docstring")
    return docstring.splitlines()[0].replace("``", "`")


if __name__ == "__main__":
    TREE.write_text(make_tree(ROOT))
