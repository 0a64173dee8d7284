"""``python -m nuwa_search.deploy.train.spread_member FOLDER``: one process of a spread fine-tuning, under torchrun."""

import os
import pickle
import signal
import sys
from pathlib import Path

import torch

from nuwa_search.core.counting import counts_to
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.processes import join_processes
from nuwa_search.deploy.train.sender import Sender
from nuwa_search.deploy.train.spread_files import (
    FAILED,
    RESULT,
    WORK,
    Failed,
    SpreadWork,
    add_message,
    end_with_parent,
    read_whole,
    write_whole,
)


def main(folder: Path) -> int:
    """Do this process's share; the first one writes what came of it."""
    rank = int(os.environ["RANK"])
    end_with_parent(lambda: os._exit(1))
    interrupts: list[int] = []
    # all stop behind the same step: an exception in the middle of one would leave the others waiting for this one
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    teller = Sender(lambda message: add_message(folder, *message))
    try:
        work: SpreadWork = read_whole(folder / WORK)
        torch.set_num_threads(work.threads)
        processes = join_processes(patience_s=work.patience_s)
        with counts_to(teller.count if processes.is_first else None):
            result = finetune(
                work.student,
                work.data,
                teacher=work.teacher,
                config=work.config,
                progress=teller.progress,
                checkpoint_dir=work.checkpoint_dir,
                resume=work.resume,
                should_stop=lambda: bool(interrupts),
            )
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        write_whole(folder / f"{FAILED}.{rank}", _failed(rank, error))
        raise
    if processes.is_first:
        write_whole(folder / RESULT, result)
    processes.leave()
    return 0


def _failed(rank: int, error: Exception) -> Failed:
    told = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - to see whether it can travel
    except Exception:  # an error class may not take back what it was made of
        return Failed(rank, RuntimeError(told), told)
    return Failed(rank, error, told)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
