"""An ONNX model read once: its graph and the kernels it becomes, remembered by content.

A profile measures each net a dozen times. Reading the graph and fusing it takes nine tenths of an emulated
measurement and comes out the same every time.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import onnx

from nuwa_search.latency.emulator.fusion import kernels_from_graph
from nuwa_search.latency.emulator.fusion_rules import FusionRules
from nuwa_search.latency.emulator.graph import Graph, graph_from_model
from nuwa_search.latency.emulator.kernels import Kernel

MAX_REMEMBERED = 512
"""Models; a profile's whole nets and their repeats fit, and each holds shapes only, no weights."""


class ReadModel:
    """What the time model needs to know of a model.

    Args:
        graph: Its operators and sizes.
        warnings: Of the check that it passed.
    """

    def __init__(self, graph: Graph, warnings: tuple[str, ...] = ()) -> None:
        self.graph = graph
        self.warnings = warnings
        self._kernels: dict[FusionRules, tuple[Kernel, ...]] = {}

    def kernels(self, rules: FusionRules) -> tuple[Kernel, ...]:
        """Fuse the graph into kernels, or recall them.

        Raises:
            NuwaError: If an operator is not one that the time model can price.
        """
        if rules not in self._kernels:
            self._kernels[rules] = kernels_from_graph(self.graph, rules)
        return self._kernels[rules]


Check = Callable[[onnx.ModelProto], tuple[str, ...]]

_lock = threading.Lock()
_remembered: OrderedDict[tuple[bytes, str], ReadModel] = OrderedDict()


def read_model(model: onnx.ModelProto, *, check: Check | None = None, checked_for: str = "") -> ReadModel:
    """Read a model's graph, or recall it.

    Args:
        model: As it was written.
        check: Refuses what the board could not take, before anything is folded away, and returns warnings.
        checked_for: What ``check`` depends on besides the model; a model is checked once for each.

    Raises:
        NuwaError: If ``check`` refuses the model, or the time model cannot take the graph.
    """
    key = hashlib.sha256(model.SerializeToString(deterministic=True)).digest(), checked_for
    with _lock:
        if key in _remembered:
            _remembered.move_to_end(key)
            return _remembered[key]
    warnings = check(model) if check is not None else ()
    found = ReadModel(graph_from_model(model), warnings)
    with _lock:
        _remembered[key] = found
        while len(_remembered) > MAX_REMEMBERED:
            _remembered.popitem(last=False)
    return found
