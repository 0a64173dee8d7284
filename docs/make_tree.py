"""Write ``docs/tree.md``: every module with the first line of its docstring.

python docs/make_tree.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "docs" / "tree.md"
PACKAGES = ("service", "search", "predictors", "latency", "deploy", "nuwa", "benchmarks")
HEAD = """# Where things are

One line per module, taken from its docstring by `python docs/make_tree.py` (a test compares). Tests mirror the
packages.
"""


def make_tree(root: Path) -> str:
    """Describe all modules below ``root`` in Markdown, one section per folder.

    Raises:
        ValueError: If a module has no docstring.
    """
    lines = [HEAD]
    for package in PACKAGES:
        folders = sorted({path.parent for path in (root / package).rglob("*.py")})
        for folder in folders:
            if "versions" in folder.parts:  # migrations: never read, only added to
                continue
            modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
            if not modules:
                continue
            about = _first_line(folder / "__init__.py") if (folder / "__init__.py").exists() else ""
            lines += [f"## {folder.relative_to(root)}", "", *([about, ""] if about else [])]
            lines += [f"- `{path.name}`: {_first_line(path)}" for path in modules] + [""]
    return "\n".join(lines)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    if docstring is None:
        if path.name == "__init__.py":
            return ""
        raise ValueError(f"{path} has no docstring")
    return docstring.splitlines()[0].replace("``", "`")


if __name__ == "__main__":
    TREE.write_text(make_tree(ROOT))
