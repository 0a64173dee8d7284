"""One process of the simulated farm: some searches, each measuring its nets on its pool by the product's own code.

python -m benchmarks.scale.farm_worker PLAN.json NUMBER
"""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import event

from benchmarks.scale.farm_board import SimulatedBoard
from benchmarks.scale.farm_plan import FarmPlan, latency_of, model_of, nets_of, plan_from_json
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

RECHECK_S = 6.0
"""Between two looks at a board that is out: five minutes of a board are 6 s of ours."""
POLL_S = 0.3
"""Between two questions for a board, in our seconds."""


class Diary:
    """A file to which waits, leases that were lost and nets are written at once: a killed process leaves them."""

    def __init__(self, path: Path, *, begun: float) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.begun = begun

    def write(self, what: str, search: str, *values: float) -> None:
        """Append a line: what it is about, whose search, and figures."""
        with self._lock, self._path.open("a") as file:
            file.write(json.dumps([what, search, *values]) + "\n")


class ToldPool(PoolDevice):
    """A pool that writes down how long each board was waited for."""

    diary: Diary
    search: str

    def wait_for_board(self, *args: object, **options: object) -> BoardLease:
        asked = time.time()
        lease = super().wait_for_board(*args, **options)  # type: ignore[arg-type]
        self.diary.write("wait", self.search, time.time() - asked)
        return lease


class ToldBoards(PoolBoards):
    """Boards that write down which leases were lost."""

    diary: Diary
    search: str

    def give_back(self, lease: BoardLease) -> bool:
        is_ours = super().give_back(lease)
        if not is_ours:
            self.diary.write("lost", self.search)
        return is_ours


def run_search(search: str, pool: str, *, plan: FarmPlan, store: Store, diary: Diary) -> None:
    """Measure the nets of one search on its pool, as far as an earlier process has not."""
    specs = {board.name: board for board in plan.pools()[pool]}
    spec = pool_spec(pool, list(specs.values()))
    factors, outages = plan.factors(), plan.outages()
    opened: list[SimulatedBoard] = []

    def open_board(board: DeviceSpec) -> SimulatedBoard:
        made = SimulatedBoard(
            board,
            factor=factors[board.name],
            outage=outages.get(board.name),
            folder=Path(plan.folder),
            begun=plan.begun,
            on_net=lambda begin_s, end_s: diary.write("net", search, begin_s, end_s),
        )
        opened.append(made)
        return made

    references = [model_of(arch) for arch in reference_archs()]
    boards = ToldBoards(
        pool, store, find=specs.__getitem__, open_board=open_board, probe=references[0], recheck_s=RECHECK_S
    )
    boards.diary, boards.search = diary, search
    nets = nets_of(search, plan.num_nets)
    with ToldPool(spec, store, boards=boards, references=references, sleep=lambda _: time.sleep(POLL_S)) as device:
        device.diary, device.search = diary, search
        notebook = StoreNotebook(store, device=spec, protocol=PROTOCOL)
        timer = ArchTimer(device, export=model_of)
        found = measure_models(nets, role="fit", sessions=[timer], notebook=notebook, repeats=1)
    worst = max(abs(net.mean_ms / latency_of(net.arch) - 1) for net in found)
    doubles = sum(board.num_doubles for board in opened)
    diary.write("done", search, time.time() - plan.begun, len(found), worst, doubles)


def main() -> None:
    """Run this process's searches side by side."""
    plan, number = plan_from_json(Path(sys.argv[1]).read_text()), int(sys.argv[2])
    mine = plan.searches()[number :: plan.num_processes]
    diary = Diary(Path(plan.folder) / f"diary-{number}.jsonl", begun=plan.begun)
    count, lock = [0], threading.Lock()
    with open_store(plan.url) as store:

        @event.listens_for(store.engine, "before_cursor_execute")
        def counted(*_: object) -> None:
            with lock:
                count[0] += 1

        time.sleep(max(0.0, plan.begun - time.time()))
        with ThreadPoolExecutor(len(mine)) as threads:
            list(threads.map(lambda pair: run_search(*pair, plan=plan, store=store, diary=diary), mine))
        diary.write("statements", "", count[0])


if __name__ == "__main__":
    main()
