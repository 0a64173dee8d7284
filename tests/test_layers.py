"""Layers name nothing above them, not even in a string, a comment or a late import."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("service", "search", "predictors", "latency", "deploy", "store", "core")  # highest first
TENSORRT = {"deploy/tensorrt/bindings.py", "deploy/assets/run_engine.py"}  # the module, and what runs on a device


def modules_of(layer: str) -> frozenset[str]:
    """Dotted names of a layer's folders and files, such as ``search.trials``."""
    files = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / layer).rglob("*.py"))
    return frozenset(".".join(part for part in path.parts if part != "__init__") for path in files)


def arrows_up(source: str, *, higher: tuple[str, ...], modules: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Find names of higher layers' modules in all of a file's text, with their lines."""
    word = re.compile(rf"(?<![\w./])(nuwa_search[./])?(({'|'.join(higher)})(?:[./]\w+)*)")
    for number, line in enumerate(source.splitlines(), 1):
        for found in word.finditer(line):
            name = found[2].replace("/", ".").removesuffix(".py")
            is_module = any(".".join(name.split(".")[:k]) in modules for k in range(2, name.count(".") + 2))
            if found[1] or is_module:
                yield number, found[0]


@pytest.mark.parametrize("layer", LAYERS[1:])
def test_no_module_names_a_higher_layer(layer: str) -> None:
    higher = LAYERS[: LAYERS.index(layer)]
    modules = frozenset().union(*map(modules_of, higher))
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted((ROOT / layer).rglob("*.py"))
        for line, name in arrows_up(path.read_text(), higher=higher, modules=modules)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "is_arrow"),
    [
        ("# as in search/trials.py", True),
        ('"nuwa_search.search.trials"', True),
        ("    from nuwa_search.search import trials", True),
        ("    import_module('search.trials')", True),
        ("``search.trials.SAMPLERS``", True),
        ("data.search.trials", False),  # an attribute of that name is no module
        ("the search/test split", False),
    ],
)
def test_arrows_are_recognised(line: str, is_arrow: bool) -> None:
    found = list(arrows_up(line, higher=("service", "search"), modules=modules_of("search")))
    assert bool(found) == is_arrow


def test_tensorrt_is_loaded_by_its_module_and_the_device_agent_only() -> None:
    loads = {
        str(path.relative_to(ROOT))
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*.py")
        if any(_loads(node, "tensorrt") for node in ast.walk(ast.parse(path.read_text())))
    }
    assert loads == TENSORRT


def _loads(node: ast.AST, package: str) -> bool:
    """Tell whether a node imports a package: by a statement, or by its name handed to a function of ``importlib``."""
    match node:
        case ast.Import(names=names):
            return any(alias.name.split(".")[0] == package for alias in names)
        case ast.ImportFrom(module=str(module), level=0):
            return module.split(".")[0] == package
        case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
            first = node.args[0] if node.args else None
            return isinstance(first, ast.Constant) and str(first.value).split(".")[0] == package
    return False


def test_a_class_name_has_one_meaning() -> None:
    homes: dict[str, list[str]] = {}
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


DESCRIBED = (
    "core",
    "deploy",
    "store",
    "nuwa_search/lab",
    "nuwa_search/testing",
    "predictors",
    "latency",
    "search",
    "service",
)
"""Layers whose public functions of four or more parameters describe each; ruff's D417 sees that none is left out."""


def test_parameters_are_described_where_there_are_many() -> None:
    bare = []
    for layer in DESCRIBED:
        for path in sorted((ROOT / layer).rglob("*.py")):
            if "versions" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                    continue
                taken = [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs) if arg.arg not in ("self", "cls")]
                told = ast.get_docstring(node) or ""
                is_its_own = not node.decorator_list and told  # overloads and callbacks speak through what they are for
                if len(taken) >= 4 and is_its_own and "Args:" not in told:
                    bare.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert bare == []
