"""Programs that run on boards parse on Python 3.6, and use no name that its library or NumPy 1.19 lacks.

No Python 3.6 is here: they run in other tests on this machine's.
"""

import ast
import sys
from pathlib import Path

import pytest

ASSETS = Path(__file__).resolve().parents[2] / "deploy" / "assets"
PROGRAMS = sorted(path.name for path in ASSETS.glob("*.py") if path.name not in ("__init__.py", "ros2_node.py"))
"""``ros2_node.py`` runs where ROS 2 does, on Python 3.8 and newer."""
ALLOWED = {"numpy", "PIL", "onnxruntime", "tensorrt", "zmq", "cv2", "gi", "picamera2", "classifier"}
NEWER_MODULES = {
    "dataclasses", "contextvars", "zoneinfo", "graphlib", "tomllib", "importlib.metadata", "importlib.resources",
    "numpy.typing",
}  # fmt: skip
NEWER_NAMES = {
    "capture_output", "removeprefix", "removesuffix", "missing_ok", "prod", "isqrt", "time_ns", "perf_counter_ns",
    "monotonic_ns", "nullcontext", "cached_property", "fromisoformat", "is_relative_to", "with_stem", "fmean",
    "quantiles", "strict", "isascii", "readlink", "breakpoint", "sliding_window_view", "Protocol", "Literal",
    "TypedDict", "Final", "get_args", "get_origin", "dirs_exist_ok", "pairwise", "batched", "bit_count", "nat",
}  # fmt: skip
"""Names of attributes and keywords that came after 3.6, or after NumPy 1.19; ``numpy.prod`` is older (``np.prod``)."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_of_python_3_6(name: str) -> None:
    tree = ast.parse((ASSETS / name).read_text(), feature_version=(3, 6))
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg:
            names.add(node.arg)
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "np"):
            names.add(node.attr)
    assert not modules & NEWER_MODULES
    assert not names & NEWER_NAMES
    assert {m.split(".")[0] for m in modules if m.split(".")[0] not in sys.stdlib_module_names} <= ALLOWED


def test_the_list_finds_what_it_is_for() -> None:
    assert {a for a in NEWER_NAMES if a.isidentifier()} >= NEWER_NAMES
    assert "board.py" in PROGRAMS
    with pytest.raises(SyntaxError):
        ast.parse("if (n := 1): pass", feature_version=(3, 6))
