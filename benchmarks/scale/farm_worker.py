"""One process of the simulated farm: some searches, each measuring its nets on its pool by the product's own code.

python -m benchmarks.scale.farm_worker PLAN.json NUMBER
"""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy import event

from benchmarks.scale.farm_board import SimulatedBoard
from benchmarks.scale.farm_plan import FarmPlan, model_of, nets_of, plan_from_json
from nuwa_search.core.device import PROTOCOL, DeviceSpec
from nuwa_search.latency.devices.drift import reference_archs
from nuwa_search.latency.devices.pool import PoolDevice
from nuwa_search.latency.devices.pool_boards import PoolBoards
from nuwa_search.latency.devices.pool_spec import pool_spec
from nuwa_search.latency.table.store_notebook import StoreNotebook
from nuwa_search.latency.table.timer import ArchTimer
from nuwa_search.predictors.whole_models import measure_models
from nuwa_search.store.records import BoardLease
from nuwa_search.store.store import Store, open_store

RECHECK_S = 2.0
"""Between two looks at a board that is out: five minutes of a board are 1.5 s of ours."""
POLL_S = 0.1
"""Between two questions for a board, in our seconds."""


@dataclass
class SearchTold:
    """What became of one search, in our seconds since the farm began."""

    search: str
    pool: str
    begun_s: float
    ended_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)
    holds_s: list[tuple[float, float]] = field(default_factory=list)
    num_nets: int = 0
    worst_error: float = 0.0
    num_lost: int = 0
    num_doubles: int = 0


class ToldPool(PoolDevice):
    """A pool that writes down how long each board was waited for and held."""

    told: SearchTold

    def wait_for_board(self, *args: object, **options: object) -> BoardLease:
        asked = time.time()
        lease = super().wait_for_board(*args, **options)  # type: ignore[arg-type]
        self.told.waits_s.append(time.time() - asked)
        return lease


class ToldBoards(PoolBoards):
    """Boards that count leases which were lost."""

    told: SearchTold

    def give_back(self, lease: BoardLease) -> bool:
        is_ours = super().give_back(lease)
        self.told.num_lost += not is_ours
        return is_ours


def run_search(search: str, pool: str, plan: FarmPlan, store: Store) -> SearchTold:
    """Measure the nets of one search on its pool, as far as an earlier process has not."""
    specs = {board.name: board for board in plan.pools()[pool]}
    spec = pool_spec(pool, list(specs.values()))
    factors, outages = plan.factors(), plan.outages()
    opened: list[SimulatedBoard] = []

    def open_board(board: DeviceSpec) -> SimulatedBoard:
        name = board.name
        opened.append(
            SimulatedBoard(
                board, factor=factors[name], outage=outages.get(name), folder=Path(plan.folder), begun=plan.begun
            )
        )
        return opened[-1]

    references = [model_of(arch) for arch in reference_archs()]
    told = SearchTold(search, pool, time.time() - plan.begun)
    boards = ToldBoards(
        pool, store, find=specs.__getitem__, open_board=open_board, probe=references[0], recheck_s=RECHECK_S
    )
    boards.told = told
    nets = nets_of(search, plan.num_nets)
    with ToldPool(spec, store, boards=boards, references=references, sleep=lambda _: time.sleep(POLL_S)) as device:
        device.told = told
        notebook = StoreNotebook(store, device=spec, protocol=PROTOCOL)
        timer = ArchTimer(device, export=model_of)
        found = measure_models(nets, role="fit", sessions=[timer], notebook=notebook, repeats=1)
    told.ended_s = time.time() - plan.begun
    told.num_nets = len(found)
    told.worst_error = max(
        abs(net.mean_ms / float(model_of(net.arch).graph.doc_string.split()[1]) - 1) for net in found
    )
    told.holds_s = [held for board in opened for held in board.held]
    told.num_doubles = sum(board.num_doubles for board in opened)
    return told


def main() -> None:
    """Run this process's searches side by side and write what became of each as a line."""
    plan, number = plan_from_json(Path(sys.argv[1]).read_text()), int(sys.argv[2])
    mine = plan.searches()[number :: plan.num_processes]
    count, lock = [0], threading.Lock()
    with open_store(plan.url) as store:

        @event.listens_for(store.engine, "before_cursor_execute")
        def counted(*_: object) -> None:
            with lock:
                count[0] += 1

        time.sleep(max(0.0, plan.begun - time.time()))
        with (
            ThreadPoolExecutor(len(mine)) as threads,
            (Path(plan.folder) / f"told-{number}.jsonl").open("a") as file,
        ):
            for told in threads.map(lambda pair: run_search(*pair, plan=plan, store=store), mine):
                file.write(json.dumps(asdict(told)) + "\n")
        (Path(plan.folder) / f"statements-{number}").write_text(str(count[0]))


if __name__ == "__main__":
    main()
