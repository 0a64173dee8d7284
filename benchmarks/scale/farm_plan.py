"""What the simulated farm is made of: pools of boards, searches, and which boards break when."""

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import onnx
from onnx import helper

from benchmarks.scale.farm_board import Outage
from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import DeviceSpec
from nuwa_search.latency.devices.drift import reference_archs

SPEC = DeviceSpec("kind", "simulated", "tensorrt", "8.2.1", "fp16", power_mode="MAXN", opset=13)
DRIFT_SD = 0.02
"""Relative spread of boards of a kind: chosen, of the size of the drift that pools are there to correct."""


@dataclass(frozen=True)
class FarmPlan:
    """A farm and who works on it.

    Args:
        url: Of the database.
        folder: Of lock files and answers.
        begun: ``time.time()`` at which work begins.
        num_boards: Boards of each pool.
        num_searches: Searches of each pool.
        num_nets: Nets that each search measures, as many at a time as it gets boards for.
        num_outages: Boards that break once, over all pools.
        outage_s: Between which two of our seconds since the beginning each is broken.
        num_processes: Processes that the searches are dealt to.
        killed_at_s: When, in our seconds, the first of them is killed; it is started again at once.
    """

    url: str
    folder: str
    begun: float
    num_boards: int = 25
    num_searches: tuple[int, ...] = (20, 15, 10, 5)
    num_nets: int = 40
    num_outages: int = 10
    outage_s: tuple[float, float] = (15.0, 35.0)
    num_processes: int = 5
    killed_at_s: float = 20.0

    def pools(self) -> dict[str, list[DeviceSpec]]:
        """Name the boards of each pool."""
        return {
            f"kind-{k}": [replace(SPEC, name=f"kind-{k}-{b:02}") for b in range(self.num_boards)]
            for k in range(len(self.num_searches))
        }

    def searches(self) -> list[tuple[str, str]]:
        """Name every search and its pool, dealt so that each process has some of every pool."""
        return [(f"s-{k}-{n:02}", f"kind-{k}") for k, count in enumerate(self.num_searches) for n in range(count)]

    def factors(self) -> dict[str, float]:
        """Draw how slow each board is, by name."""
        drawn = random.Random(1)
        names = [board.name for boards in self.pools().values() for board in boards]
        return {name: 1 + drawn.gauss(0.0, DRIFT_SD) for name in names}

    def outages(self) -> dict[str, Outage]:
        """Draw which boards break, by name."""
        names = sorted(self.factors())
        return {name: Outage(*self.outage_s) for name in random.Random(2).sample(names, self.num_outages)}

    def to_json(self) -> str:
        """Write it for a worker process."""
        return json.dumps(asdict(self))


def plan_from_json(text: str) -> FarmPlan:
    """Read what ``to_json`` wrote."""
    values = json.loads(text)
    pairs: Mapping[str, object] = {name: tuple(values[name]) for name in ("num_searches", "outage_s")}
    return FarmPlan(**{**values, **pairs})


def nets_of(search: str, count: int) -> list[Arch]:
    """Draw the nets of a search: no other search has them."""
    drawn = random.Random(search)
    pool, number = (int(part) for part in search.split("-")[1:])
    place = 100 * pool + number  # of the search, so that no two draw one size
    sizes = [1000 * k + place for k in drawn.sample(range(1, 100), count)]
    blocks = [(BlockSpec(2, 32, 32, size),) * drawn.randint(2, 12) for size in sizes]
    return [Arch(blocks=one, embed_dim=64, num_classes=10, img_size=64, patch_size=8) for one in blocks]


def latency_of(arch: Arch) -> float:
    """Return the latency in ms that a board exactly as its kind has."""
    return 1.0 + sum(1e-3 * block.mlp_width for block in arch.blocks)


def model_of(arch: Arch) -> onnx.ModelProto:
    """Write an empty model that carries what a board goes by: whether it is a reference net, and its latency in ms."""
    kind = "reference" if arch in reference_archs() else "net"
    graph = helper.make_graph([], "arch", [], [], doc_string=f"{kind} {latency_of(arch)} {arch.arch_id}")
    return helper.make_model(graph)
