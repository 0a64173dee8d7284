"""Feed malformed inputs to every reader of files and requests from outside, and write how they were answered.

    python -m benchmarks.fuzz                          20 000 inputs, benchmarks/results/fuzz.csv
    python -m benchmarks.fuzz --only ONNX --inputs 500 readers whose name holds a word; nothing is written
    python -m benchmarks.fuzz --only arch --number 37  show how one input is answered

Inputs are valid documents with a few changes, drawn by seed; none is stored. Readers run in a process whose memory is
bounded and which is ended where it takes too long over one input; the next goes on behind that input. Rows that are
there are kept as long as they are clean and seed, number of inputs and versions agree: an interrupted run goes on, and
a table that shall be measured anew is removed first. Exit code 1 where an input was answered without a name, slowly,
or in much memory.
"""

import argparse
import csv
import dataclasses
import importlib.metadata
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.support.fuzzing.feed import LARGE_MB, SLOW_S
from tests.support.fuzzing.readers import GROUPS

ROOT = Path(__file__).resolve().parents[2]
INPUTS = 20_000
HUNG_S = 20.0
"""Over one input, after which a process is ended; ten times what counts as slow."""
LOADING_S = 300.0
"""Until the first input: torch, timm and ONNX Runtime are loaded, and valid documents written."""
LIBRARIES = ("onnx", "onnxruntime", "torch", "timm", "pillow", "pyarrow", "safetensors", "sqlalchemy", "pydantic")
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Job:
    """Inputs for one reader: from ``first`` up to, and without, ``last``."""

    group: str
    reader: str
    first: int
    last: int


@dataclasses.dataclass
class Row:
    """How one reader answered.

    Args:
        reader: Its name.
        inputs: Fed.
        refused: In the program's own words.
        accepted: Read; a change may leave a document valid.
        unnamed: Ended in any other exception, or ended the process.
        over_2_s: Took longer.
        over_300_mb: Took more memory.
        slowest_s: Of all inputs.
        peak_mb: Most memory that one input took.
        seed: Of the changes.
        versions: Python and the libraries that read.
    """

    reader: str
    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    unnamed: int = 0
    over_2_s: int = 0
    over_300_mb: int = 0
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    seed: int = 0
    versions: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether everything was answered by name, at once and in little memory."""
        return not (self.unnamed or self.over_2_s or self.over_300_mb)

    def count(self, outcome: dict[str, Any]) -> None:
        """Add the answer to one input."""
        self.inputs += 1
        setattr(self, outcome["kind"], getattr(self, outcome["kind"]) + 1)
        self.over_2_s += outcome["seconds"] > SLOW_S
        self.over_300_mb += outcome["peak_mb"] > LARGE_MB
        self.slowest_s = max(self.slowest_s, round(outcome["seconds"], 3))
        self.peak_mb = max(self.peak_mb, round(outcome["peak_mb"], 1))


def main() -> int:
    """Feed all readers, print a line for each, and write the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers whose name holds this; nothing is written")
    parser.add_argument("--number", type=int, help="feed this input alone, and show how it is answered")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks/results/fuzz.csv")
    args = parser.parse_args()
    shares = {key: share for key, share in _shares() if args.only in key[1]}
    scale = args.inputs / sum(shares.values())
    wanted = {key: round(share * scale) for key, share in shares.items()}
    kept = {} if args.only else _kept(args.output, args.seed)
    rows = {reader: kept[reader] for (_, reader), n in wanted.items() if reader in kept and kept[reader].inputs == n}
    one = args.number
    jobs = [
        Job(group, reader, 0 if one is None else one, n if one is None else one + 1)
        for (group, reader), n in wanted.items()
        if reader not in rows
    ]
    for row in fed(jobs, seed=args.seed, is_shown=one is not None):
        rows[row.reader] = row
        if not args.only:
            _write(args.output, [rows[reader] for _, reader in wanted if reader in rows])
    return _summed([rows[reader] for _, reader in wanted])


def _summed(rows: list[Row]) -> int:
    print(
        f"{sum(r.inputs for r in rows)} inputs to {len(rows)} readers: refused by name {sum(r.refused for r in rows)}, "
        f"accepted {sum(r.accepted for r in rows)}, unnamed {sum(r.unnamed for r in rows)}, "
        f"over {SLOW_S:g} s {sum(r.over_2_s for r in rows)}, over {LARGE_MB:g} MB {sum(r.over_300_mb for r in rows)}"
    )
    return 0 if rows and all(row.is_clean for row in rows) else 1


def _shares() -> Iterator[tuple[tuple[str, str], float]]:
    with tempfile.TemporaryDirectory() as folder:
        for group, make in GROUPS.items():
            place = Path(folder, group)
            place.mkdir()
            for reader in make(place):
                yield (group, reader.name), reader.share


def fed(jobs: list[Job], *, seed: int, is_shown: bool = False) -> Iterator[Row]:
    """Yield a row for each reader; a process that dies or hangs counts as an unnamed answer.

    Args:
        jobs: What to feed.
        seed: Of the inputs.
        is_shown: Whether every answer is printed, not only what must not happen.
    """
    left = list(jobs)
    row, shown = Row(""), 0
    while left:
        for outcome in _run(left, seed):
            job = left[0]
            if row.reader != job.reader:
                row, shown = Row(job.reader, seed=seed, versions=_versions()), 0
            row.count(outcome)
            if is_shown or (not _is_clean(outcome) and shown < _SHOWN):
                shown += 1
                _show(job.reader, outcome)
            left[0] = dataclasses.replace(job, first=outcome["number"] + 1)
            if left[0].first == job.last:
                left.pop(0)
                print(
                    f"{row.reader}: {row.inputs} inputs, {row.refused} refused, {row.accepted} accepted, "
                    f"{row.unnamed} unnamed, slowest {row.slowest_s} s, {row.peak_mb} MB",
                    flush=True,
                )
                yield row


def _is_clean(outcome: dict[str, Any]) -> bool:
    return bool(outcome["kind"] != "unnamed" and outcome["seconds"] <= SLOW_S and outcome["peak_mb"] <= LARGE_MB)


def _show(reader: str, outcome: dict[str, Any]) -> None:
    print(
        f"    {reader}, input {outcome['number']}: {outcome['kind']} {outcome['said']} "
        f"({outcome['seconds']:.2f} s, {outcome['peak_mb']:.0f} MB)",
        flush=True,
    )


def _run(left: list[Job], seed: int) -> Iterator[dict[str, Any]]:
    """Yield the answers of one process; the last tells of its end where it did not come to its own.

    Args:
        left: What to feed; whoever takes the answers moves its first entry on.
        seed: Of the inputs.
    """
    listed = json.dumps([dataclasses.astuple(job) for job in left])
    line = [sys.executable, "-m", "benchmarks.fuzz.worker", listed, str(seed)]
    told: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    begun, wait_s, is_hung = time.monotonic(), LOADING_S, False
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        threading.Thread(target=_pass_on, args=(process.stdout, told), daemon=True).start()
        while True:
            try:
                text = told.get(timeout=wait_s)
            except queue.Empty:
                is_hung = True
                process.kill()
                break
            if not text:
                break
            values, begun, wait_s = json.loads(text), time.monotonic(), HUNG_S
            if "kind" in values:
                yield values
        code = process.wait()
        if code == 1:  # Python's own: every exception of a reader is an answer
            errors.seek(0)
            sys.exit(f"the readers could not be fed:\n{errors.read().decode(errors='replace')}")
    if code:
        said = "the process hung" if is_hung else f"the process ended with {code}"
        seconds = time.monotonic() - begun
        yield {"number": left[0].first, "kind": "unnamed", "said": said, "seconds": seconds, "peak_mb": 0.0}


def _pass_on(lines: IO[bytes], told: "queue.SimpleQueue[bytes]") -> None:
    for line in lines:
        told.put(line)
    told.put(b"")


def _versions() -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    return " ".join([f"python {python}", *(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)])


def _kept(path: Path, seed: int) -> dict[str, Row]:
    """Read the rows of an earlier run that still stand."""
    if not path.is_file():
        return {}
    kinds = {field.name: field.type for field in dataclasses.fields(Row)}
    with path.open(newline="", encoding="utf-8") as file:
        found = [Row(**{k: kinds[k](v) for k, v in row.items()}) for row in csv.DictReader(file)]  # type: ignore[operator]
    return {row.reader: row for row in found if row.seed == seed and row.versions == _versions() and row.is_clean}


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(dataclasses.asdict, rows))


if __name__ == "__main__":
    sys.exit(main())
