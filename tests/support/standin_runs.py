"""Output of the stand-in `trtexec`, without a board: log, times and profile of one run."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.device import MeasureProtocol
from nuwa_search.deploy.tensorrt.trtexec import build_line, measure_line, profile_line
from tests.support import trtexec_standin


@dataclass(frozen=True)
class StandinRun:
    """What one build, run and profile left."""

    build_log: str
    log: str
    times: str
    profile_log: str
    profile: str


def run_standin(folder: Path, *, version: str, protocol: MeasureProtocol, num_bytes: int = 1_000_000) -> StandinRun:
    """Build, run and profile a model of ``num_bytes`` with the lines that the product makes."""
    onnx, engine, times, profile = (str(folder / name) for name in ("m.onnx", "m.engine", "t.json", "p.json"))
    Path(onnx).write_bytes(bytes(num_bytes))
    build = build_line(onnx, engine, version=version, precision="fp16", workspace_mb=512, timing_cache=engine + ".c")
    measure = measure_line(engine, version=version, protocol=protocol, export_times=times)
    profiled = profile_line(engine, version=version, protocol=protocol, export_profile=profile)
    logs = [call_standin(line[1:], version=version) for line in (build, measure, profiled)]
    return StandinRun(logs[0], logs[1], Path(times).read_text(), logs[2], Path(profile).read_text())


def call_standin(arguments: list[str], *, version: str) -> str:
    """Run the stand-in and return what it printed; a refusal is an assertion."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", trtexec_standin.__file__, *arguments],
        env={**os.environ, "STANDIN_VERSION": version},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
