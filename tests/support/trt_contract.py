"""A `tensorrt` made of the published bindings' own signatures, to run the builder against.

The wheel `tensorrt-cu13-bindings` holds the Python API without the libraries behind it. It needs nine
C functions to load; empty ones are compiled here, in a process of its own the module is loaded, and the
signatures that pybind11 wrote into its docstrings are read. A double made from them refuses any name,
argument or type that the real API does not have.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FUNCTIONS = (
    "initLibNvInferPlugins createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL "
    "createNvOnnxParserRefitter_INTERNAL createNvOnnxParser_INTERNAL getBuilderPluginRegistry getNvOnnxParserVersion "
    "getPluginRegistry"
)

DUMP = """
import json
import tensorrt_bindings.tensorrt as trt
def describe(kind):
    out = {"bases": [b.__name__ for b in kind.__mro__[1:]], "methods": {}, "properties": {}, "members": {}, "inner": {}}
    out["members"] = {k: int(v) for k, v in getattr(kind, "__members__", {}).items()}
    for name in dir(kind):
        if name.startswith("__") and name != "__init__":
            continue
        value = getattr(kind, name)
        if isinstance(value, property):
            out["properties"][name] = (value.fget.__doc__ or "").strip() if value.fget else ""
        elif isinstance(value, type):
            out["inner"][name] = describe(value)
        elif callable(value):
            out["methods"][name] = value.__doc__ or ""
    return out
print(json.dumps({n: describe(v) for n, v in vars(trt).items() if isinstance(v, type)}))
"""


def read_api(folder: Path) -> dict[str, Any]:
    """Load the published bindings over empty libraries and describe them; skip where that cannot be."""
    pytest.importorskip("importlib.metadata")
    if _find_bindings() is None:
        pytest.skip("tensorrt-cu13-bindings is not installed")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to make the empty libraries with")
    source = folder / "empty.c"
    source.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in FUNCTIONS.split()))
    for name in ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser"):
        soname = f"{name}.so.{bindings_release().split('.')[0]}"
        subprocess.run(
            [compiler, "-shared", "-fPIC", f"-Wl,-soname,{soname}", str(source), "-o", str(folder / soname)], check=True
        )
    done = subprocess.run(
        [sys.executable, "-c", DUMP],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    api: dict[str, Any] = json.loads(done.stdout)
    return api


def bindings_release() -> str:
    """The version of the installed bindings."""
    found = _find_bindings()
    assert found is not None
    match = re.search(r'__version__ = "([\d.]+)"', (found / "__init__.py").read_text())
    assert match
    return match[1]


def _find_bindings() -> Path | None:
    paths = (Path(entry) / "tensorrt_bindings" for entry in sys.path)
    return next((path for path in paths if (path / "__init__.py").is_file()), None)


@dataclass
class Double:
    """The module double, what was called on it, and what (or by which function) it answers instead of the default."""

    module: ModuleType
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def arguments(self, name: str) -> tuple[Any, ...]:
        return next(arguments for called, arguments in self.calls if called == name)


def make_double(api: dict[str, Any], version: str) -> Double:
    """Make a module that has exactly what ``api`` describes."""
    double = Double(ModuleType("tensorrt"))
    double.module.__dict__["__version__"] = version
    kinds: dict[str, type] = {}
    for name, description in api.items():
        kinds[name] = _make_class(name, description, double, kinds)
        double.module.__dict__[name] = kinds[name]
    return double


class _Enum(int):
    name: str


def _make_class(name: str, description: dict[str, Any], double: Double, kinds: dict[str, type]) -> type:
    if description["members"]:
        kind = type(name, (_Enum,), {})
        for member, value in description["members"].items():
            entry = kind(value)
            entry.name = member
            setattr(kind, member, entry)
        kinds[name] = kind
        return kind
    kind = type(name, (), {"_bases": {name, *description["bases"]}})
    for method, text in description["methods"].items():
        setattr(kind, method, _make_method(f"{name}.{method}", text, double, kinds))
    for attribute, text in description["properties"].items():
        setattr(kind, attribute, property(_make_getter(f"{name}.{attribute}", text, double, kinds)))
    for inner, inner_description in description["inner"].items():
        if inner not in kind.__dict__:
            made = _make_class(inner, inner_description, double, kinds)
            setattr(kind, inner, made)
            for member in inner_description["members"]:  # pybind11 exports an inner enum's values
                setattr(kind, member, getattr(made, member))
    if name == "IHostMemory":  # its docstring: exposes a buffer interface
        kind.__bytes__ = lambda self: b"plan"  # type: ignore[attr-defined]
    return kind


def _make_method(path: str, text: str, double: Double, kinds: dict[str, type]) -> Callable[..., Any]:
    name = path.rsplit(".", 1)[1]
    signatures = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((.*)\) -> (.+)$", text, re.MULTILINE)

    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        problems = []
        for parameters, returns in signatures:
            problem = _misfit(parameters, arguments, keywords, kinds)
            if problem is None:
                double.calls.append((path, arguments))
                return None if name == "__init__" else _answer(path, returns, double, kinds, arguments)
            problems.append(problem)
        raise TypeError(f"{path}{arguments} {keywords} fits no signature: {problems}")

    return call


def _make_getter(path: str, text: str, double: Double, kinds: dict[str, type]) -> Callable[[Any], Any]:
    returns = text.rsplit("->", 1)[-1].strip()
    return lambda self: _answer(path, returns, double, kinds)


def _misfit(
    parameters: str, arguments: tuple[Any, ...], keywords: dict[str, Any], kinds: dict[str, type]
) -> str | None:
    wanted = _split(parameters)[1:]  # without self
    given = dict(zip([entry[0] for entry in wanted], arguments, strict=False))
    if len(arguments) > len(wanted) or set(keywords) - {entry[0] for entry in wanted} or set(keywords) & set(given):
        return "too many or unknown arguments"
    given |= keywords
    for name, kind, has_default in wanted:
        if name not in given:
            if not has_default:
                return f"{name} is missing"
        elif not _fits(given[name], kind, kinds):
            return f"{name} is {type(given[name]).__name__}, not {kind}"
    return None


def _split(parameters: str) -> list[tuple[str, str, bool]]:
    entries, depth, start = [], 0, 0
    for index, character in enumerate(parameters + ","):
        depth += (character in "[(<") - (character in "])>")
        if character == "," and depth == 0:
            entries.append(parameters[start:index].strip())
            start = index + 1
    split = []
    for entry in entries:
        name, _, rest = entry.partition(":")
        kind, _, default = rest.partition(" = ")
        split.append((name.strip(), kind.strip(), bool(default)))
    return split


def _fits(value: Any, kind: str, kinds: dict[str, type]) -> bool:
    short = kind.rsplit(".", 1)[-1]
    if short in kinds:
        return isinstance(value, kinds[short]) or short in getattr(type(value), "_bases", ())
    plain = {"str": str, "bool": bool, "Buffer": bytes, "SupportsInt": int, "int": int}
    return isinstance(value, plain[short]) if short in plain else True


def _answer(path: str, returns: str, double: Double, kinds: dict[str, type], arguments: tuple[Any, ...] = ()) -> Any:
    if path in double.answers:
        answer = double.answers[path]
        return answer(*arguments) if callable(answer) else answer
    short = returns.rsplit(".", 1)[-1].rsplit("::", 1)[-1]
    if short in kinds:
        kind = kinds[short]
        return kind(1) if issubclass(kind, _Enum) else kind.__new__(kind)
    return {"bool": True, "int": 0, "str": "text", "None": None}.get(short)
