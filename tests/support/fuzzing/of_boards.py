"""Readers of what boards print and leave, and of latency tables."""

import json
from collections.abc import Sequence
from pathlib import Path

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import MeasureProtocol
from nuwa_search.core.transport import CommandResult, Transport
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.tensorrt.failures import read_failure
from nuwa_search.deploy.tensorrt.outputs import output_from_export
from nuwa_search.deploy.tensorrt.profile import kernels_from_profile
from nuwa_search.deploy.tensorrt.report import parse_report, read_trtexec_version
from nuwa_search.deploy.tensorrt.results import read_run
from nuwa_search.deploy.tensorrt.times import stats_from_times
from nuwa_search.latency.devices.board_facts import read_board_facts, spec_from_facts
from nuwa_search.latency.devices.board_state import read_board_state
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS
from nuwa_search.latency.table.files import read_table, write_table
from nuwa_search.latency.table.kit import import_kit, write_kit
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import BlockKey, context_of, stem_of
from tests.support.fuzzing.mutations import mutated_bytes, mutated_json, mutated_text
from tests.support.fuzzing.of_bundles import ARCH
from tests.support.fuzzing.reader import Reader
from tests.support.standin_runs import run_standin

NANO = EMULATED_SPECS["jetson-nano"]
PROTOCOL = MeasureProtocol(warmup_ms=10, min_duration_ms=50, min_repetitions=10)
STATE = """l4t=# R32 (release), REVISION: 7.1
board=NVIDIA Jetson Nano Developer Kit
power_mode=MAXN
chip=tegra210
gpu_min_hz=921600000
gpu_max_hz=921600000
gpu_cur_hz=921600000
cpus_online=0-3
temp_GPU-therm=38500
power_in_mw=2400
mem_available_kb=3000000
load_1min=0.10
other_trtexec=0
MemTotal: 4059264 kB
"""


class PlayedBoard(Transport):
    """A transport whose board answers every command with one file; nothing is copied to it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def address(self) -> str:
        return "board"

    def run(self, argv: Sequence[str], *, timeout_s: float, output_path: Path | None = None) -> CommandResult:
        text = self._path.read_text(errors="replace")
        return CommandResult(0, "&&&& RUNNING TensorRT.trtexec [TensorRT v8201] #\n" + text, "")

    def put(self, local: Path, remote: str) -> None:
        raise NotImplementedError

    def get(self, remote: str, local: Path) -> None:
        raise NotImplementedError

    def make_dir(self, remote: str) -> None:
        raise NotImplementedError

    def remove(self, remote: str) -> None:
        raise NotImplementedError

    def free_disk_mb(self, remote: str) -> float:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


def board_readers(folder: Path) -> list[Reader]:
    """Read a kit, the files of a run of ``trtexec``, and a board's state."""
    kit, run_dir = folder / "kit", folder / "run"
    run_dir.mkdir()
    net = Arch((), embed_dim=16, num_classes=3, img_size=8, patch_size=4)
    (file,) = write_kit(kit, [(net, "fit")], spec=NANO, protocol=PROTOCOL, export=lambda a: onnx_from_arch(a, opset=13))
    run = run_standin(run_dir, version="8.2.1", protocol=PROTOCOL)
    times, log = kit / f"{file.name}.times.json", kit / f"{file.name}.log"
    times.write_text(run.times)
    log.write_text(run.log)
    documents = {
        "profile.json": run.profile,
        "failed.log": run.build_log,
        "state.txt": STATE,
        "output.json": json.dumps([{"name": "logits", "dimensions": "1x3", "values": [0.5, -1.5, 2.0]}]),
    }
    for name, text in documents.items():
        (folder / name).write_text(text)
    profile, failed, state, output = (folder / name for name in documents)
    report, version = parse_report(run.log), NANO.runtime_version
    board = PlayedBoard(state)

    def read_state() -> None:
        found = read_board_state(board)
        facts = (found.gpu_mhz, found.power_in_mw, found.is_throttled, found.num_other_trtexec, found.free_memory_mb)
        assert facts is not None
        spec_from_facts("nano", read_board_facts(board), address="a@b", precision="fp16")

    return [
        Reader("kit: manifest", kit / "kit.json", mutated_json, lambda: import_kit(kit, spec=NANO, protocol=PROTOCOL)),
        Reader("kit: times", times, mutated_json, lambda: stats_from_times(times, report=report, transfers=True)),
        Reader("kit: log", log, mutated_text, lambda: read_run(log, times=times, protocol=PROTOCOL, version=version)),
        Reader("trtexec: version", log, mutated_text, lambda: read_trtexec_version(log)),
        Reader("trtexec: profile", profile, mutated_json, lambda: kernels_from_profile(profile, median_ms=3.0)),
        Reader("trtexec: failure", failed, mutated_text, lambda: read_failure(failed, returncode=1)),
        Reader(
            "trtexec: output", output, mutated_json, lambda: output_from_export(output, name="logits", shape=(1, 3))
        ),
        Reader("board: state and facts", state, mutated_text, read_state),
    ]


def table_readers(folder: Path) -> list[Reader]:
    """Read latency tables."""
    rows = [
        TableRow(stem_of(ARCH), 0.25, "measured", {"sd_ms": 0.01, "chain_ms": [0.25]}),
        TableRow(BlockKey(BlockSpec(2, 8, 8, 0), context_of(ARCH), "busy"), 0.125, "emulated", {"samples": [20, 20]}),
    ]
    paths = [folder / "table.csv", folder / "table.parquet"]
    for path in paths:
        write_table(rows, path)
    return [
        Reader("latency table, CSV", paths[0], mutated_text, lambda: read_table(paths[0])),
        Reader("latency table, Parquet", paths[1], mutated_bytes, lambda: read_table(paths[1])),
    ]
