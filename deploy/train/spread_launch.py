"""``python -m nuwa_search.deploy.train.spread_launch FOLDER COUNT``: torchrun, and notes of how its processes ended."""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from nuwa_search.deploy.train.spread_files import FAILED, Failed, end_with_parent, write_whole

MEMBER = "nuwa_search.deploy.train.spread_member"


def main(folder: Path, count: int) -> int:
    """Start ``count`` processes on this machine and wait for them; the first that dies ends the others."""
    alone = threading.Event()

    def end() -> None:
        alone.set()
        os.kill(os.getpid(), signal.SIGTERM)

    end_with_parent(end)
    try:
        return _launched(folder, count)
    finally:
        if alone.is_set():  # whoever would remove it was killed
            shutil.rmtree(folder, ignore_errors=True)


def _launched(folder: Path, count: int) -> int:
    words = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(count), "--max-restarts", "0"]
    try:
        torchrun.main([*words, "--module", MEMBER, str(folder)])
    except ChildFailedError as error:
        for rank, failure in error.failures.items():
            # a process that raised wrote its own note; of one that a signal ended, torchrun knows
            if failure.exitcode < 0 and -failure.exitcode != signal.SIGTERM:
                told = f"was ended by {signal.Signals(-failure.exitcode).name}"
                note = folder / f"{FAILED}.{rank}"
                if not note.exists():  # what it said itself is the cause, and the signal what came of it
                    write_whole(note, Failed(rank, None, told))
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
