"""Memory that reading a board's run takes: a log and a times file of 400 MB, each read in a process of its own.

    make bench-logs

The log is a verbose build and run as `trtexec` writes it, with the verbose lines repeated; the times file has a row for
each inference of a run of hours. Both are made in a temporary folder. Writes ``results/log_memory.csv``: the rise of
the peak resident memory over that of a process that read a file of a few kilobytes the same way.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from nuwa_search.core.device import MeasureProtocol
from nuwa_search.deploy.tensorrt.failures import read_failure
from nuwa_search.deploy.tensorrt.report import parse_report
from nuwa_search.deploy.tensorrt.times import stats_from_times
from tests.support.standin_runs import run_standin

RESULT = Path(__file__).parent / "results" / "log_memory.csv"
VERSION = "8.2.1"
MB = 10**6
NOISE = "[11/20/2021-12:00:00] [V] [TRT] --------------- Timing Runner: /blocks.{0}/mlp/fc1/Gemm (CaskConvolution)\n"


def main() -> None:
    """Make the files, read each in a process of its own, write and print the table."""
    parser = argparse.ArgumentParser(description="memory of reading a board's logs")
    parser.add_argument("--mb", type=float, default=400.0)
    parser.add_argument("--read", choices=sorted(READERS), help="only read, and print what it took")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if arguments.read:
        READERS[arguments.read](arguments.folder)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
        print(json.dumps({"peak_mb": peak_mb}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        small, large = Path(temporary, "small"), Path(temporary, "large")
        make_files(small, size_mb=0.0)
        make_files(large, size_mb=arguments.mb)
        lines = [line(name, small, large) for name in READERS]
    table = pd.DataFrame(lines)
    table.to_csv(arguments.output, index=False, float_format="%.4g")
    print(table.to_string(index=False))


def make_files(folder: Path, *, size_mb: float) -> None:
    """Write ``log``, ``failed`` and ``times`` of at least so many megabytes, each consistent in itself."""
    folder.mkdir()
    run = run_standin(folder, version=VERSION, protocol=MeasureProtocol())
    begin, end = run.log.split("\n", 1)
    for name, tail in (("log", end), ("failed", "[11/20/2021-12:00:00] [E] Error[1]: Cuda Runtime (out of memory)\n")):
        with (folder / name).open("w") as file:
            file.write(begin + "\n")
            for i in range(int(size_mb * MB / len(NOISE))):
                file.write(NOISE.format(i % 12))
            file.write(tail)
    write_times(folder, size_mb=size_mb)


def write_times(folder: Path, *, size_mb: float) -> None:
    """Write rows of one length, and the log of a run that has just these."""
    row = (
        '{{ "startEnqMs" : {0}.1, "endEnqMs" : {0}.2, "startH2dMs" : {0}.2, "endH2dMs" : {0}.2, '
        '"startComputeMs" : {0}.2, "endComputeMs" : {0}.7, "startD2hMs" : {0}.7, "endD2hMs" : {0}.7, "h2dMs" : 0, '
        '"computeMs" : 0.5, "d2hMs" : 0, "latencyMs" : 0.5, "endToEndMs" : 0.5 }}'
    )
    num = max(100, int(size_mb * MB / len(row.format(10**6))))
    first = 10**6  # so that every row is as long as the next
    with (folder / "times").open("w") as file:
        file.write("[\n  " + row.format(first))
        for i in range(1, num):
            file.write("\n, " + row.format(first + i))
        file.write("\n]\n")
    said = "min = 0.5 ms, max = 0.5 ms, mean = 0.5 ms, median = 0.5 ms, percentile(99%) = 0.5 ms"
    zero = said.replace("0.5", "0")
    names = ("Latency", "End-to-End Host Latency", "Enqueue Time", "H2D Latency", "GPU Compute Time", "D2H Latency")
    lines = [
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec",
        "[11/20/2021-12:00:00] [I] Warmup completed 0 queries over 200 ms",
        f"[11/20/2021-12:00:00] [I] Timing trace has {num} queries over {num / 1000:g} s",
        *(f"[11/20/2021-12:00:00] [I] {n}: {zero if '2' in n else said}" for n in names),
        "&&&& PASSED TensorRT.trtexec [TensorRT v8201] # trtexec",
    ]
    (folder / "times.log").write_text("\n".join(lines) + "\n")


def read_log(folder: Path) -> None:
    """Read the report of a run."""
    parse_report(folder / "log")


def read_failed(folder: Path) -> None:
    """Find why a run failed."""
    assert read_failure(folder / "failed", returncode=1).kind == "out_of_memory"


def read_times(folder: Path) -> None:
    """Make the statistics of the times file."""
    stats, num = stats_from_times(folder / "times", report=parse_report(folder / "times.log"), transfers=False)
    assert (stats.median, num >= 100) == (0.5, True)


READERS: dict[str, Callable[[Path], None]] = {"failed": read_failed, "log": read_log, "times": read_times}


def line(name: str, small: Path, large: Path) -> dict[str, object]:
    """Read the small and the large file of one kind; return what the large one took more."""
    base, found = taken(name, small), taken(name, large)
    return {
        "file": name,
        "size_mb": (large / name).stat().st_size / MB,
        "peak_mb": found["peak_mb"],
        "peak_of_a_small_file_mb": base["peak_mb"],
        "rise_mb": found["peak_mb"] - base["peak_mb"],
    }


def taken(name: str, folder: Path) -> dict[str, float]:
    """Read a file in a process of its own."""
    argv = [sys.executable, "-m", "benchmarks.log_memory", "--read", name, "--folder", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
