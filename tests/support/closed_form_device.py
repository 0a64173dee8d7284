"""A device whose latency is a formula of the arch, so that tables and predictors have exact references."""

import json
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from nuwa_search.core.arch import Arch, BlockSpec, arch_from_dict, dict_from_arch
from nuwa_search.core.device import DeviceKind, DeviceSpec, LatencyStats, Measurement, MeasureProtocol

BASE = Arch(
    blocks=(BlockSpec(4, 32, 32, 512),) * 6,
    embed_dim=128,
    num_classes=10,
    img_size=32,
    patch_size=4,
    num_prefix_tokens=1,
)


def export(arch: Arch) -> onnx.ModelProto:
    """Put the arch itself into an empty model."""
    graph = helper.make_graph([], "arch", [], [], doc_string=json.dumps(dict_from_arch(arch.compact())))
    return helper.make_model(graph)


@dataclass(frozen=True)
class Formula:
    """Milliseconds of branches: work in steps of ``tile``, launches that work may hide."""

    tile: int = 64
    launch_attn: float = 0.0
    launch_mlp: float = 0.0
    stem_ms: float = 0.3

    def work(self, arch: Arch, block: BlockSpec) -> tuple[float, float]:
        n, d = arch.num_tokens, arch.embed_dim
        inner = block.num_heads * (2 * block.qk_dim + block.v_dim)
        attn = 1e-6 * n * d * self.up(inner) + 2e-6 * block.num_heads * n * n if block.has_attn else 0.0
        mlp = 2e-6 * n * d * self.up(block.mlp_width) if block.has_mlp else 0.0
        return attn / 10, mlp / 10

    def up(self, width: int) -> int:
        return -(-width // self.tile) * self.tile

    def latency(self, arch: Arch) -> float:
        """Finish time of the work when launches go ahead of it, branch by branch."""
        launched = worked = self.stem_ms / 2
        for block in arch.compact().blocks:
            for work, launch, is_there in zip(
                self.work(arch, block),
                (self.launch_attn, self.launch_mlp),
                (block.has_attn, block.has_mlp),
                strict=True,
            ):
                if is_there:
                    launched += launch
                    # A branch is many kernels: it ends a launch after the last began, or when its work is done.
                    worked = max(worked + work, launched)
        return worked + self.stem_ms / 2


class ClosedFormDevice:
    """Measures by formula, with seeded noise; counts what it was asked."""

    def __init__(self, formula: Formula, *, noise: float = 0.0, seed: int = 0, kind: DeviceKind = "host") -> None:
        self.formula = formula
        self.noise = noise
        self.measured: list[str] = []
        self._rng = np.random.default_rng(seed)
        self._spec = DeviceSpec(name="formula", kind=kind, runtime="paper", runtime_version="1", precision="fp32")

    @property
    def spec(self) -> DeviceSpec:
        return self._spec

    def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
        arch = arch_from_dict(json.loads(model.graph.doc_string))
        self.measured.append(arch.arch_id)
        ms = self.formula.latency(arch) * float(np.exp(self.noise * self._rng.standard_normal()))
        stats = LatencyStats(ms, ms, ms, ms, ms, ms, ms, ms, 0.0)
        return Measurement(self._spec, protocol or MeasureProtocol(), self._spec.provenance, stats, 20)
