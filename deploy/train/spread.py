"""Fine-tune in several processes of this machine: torchrun starts them, DDP averages their gradients."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nuwa_search.core.counting import count
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.out_of_memory import is_out_of_memory, out_of_memory
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import FinetuneResult, finetune
from nuwa_search.deploy.train.outcome import Progress
from nuwa_search.deploy.train.processes import PATIENCE_S
from nuwa_search.deploy.train.spread_files import (
    FAILED,
    LOG,
    RESULT,
    WORK,
    Failed,
    MessageReader,
    SpreadWork,
    read_whole,
    write_whole,
)
from nuwa_search.deploy.train.teacher import Teacher

PROGRAM = Path(__file__).absolute().parents[3]
"""Folder that the import package lies in: this file is ``nuwa_search/deploy/train/spread.py`` there, through a link."""
POLL_S = 0.1
"""Between two looks at whether the processes are done, and at what they tell."""
GRACE_S = 40.0
"""After Ctrl-C, for the processes to end a step and write a checkpoint: torchrun itself kills them after 30 s."""
LOG_LINES = 3
"""Of what the libraries printed, where nothing else tells why."""


def finetune_in(
    processes: int,
    student: PlainViT,
    data: TaskTensors,
    *,
    teacher: Teacher | None,
    config: FinetuneConfig,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> FinetuneResult:
    """Fine-tune as ``finetune`` does, in several processes of this machine: on a GPU each, or on shares of its cores.

    They split each batch, so the same images make the same steps as in one process, but for rounding. What one of
    them raises is raised here, and ends the others.

    Args:
        processes: How many; 1 is this one.
        student: As of ``finetune``.
        data: As of ``finetune``.
        teacher: As of ``finetune``; each process runs it.
        config: As of ``finetune``; its batch is that of all processes together.
        progress: Called in this process.
        checkpoint_dir: As of ``finetune``; another number of processes goes on from the same checkpoints.
        resume: As of ``finetune``.

    Raises:
        NuwaError: As of ``finetune``; or if this process is one of several already.
        OutsideError: If a process died; it is named.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was written.
    """
    if processes == 1:
        return finetune(
            student,
            data,
            teacher=teacher,
            config=config,
            progress=progress,
            checkpoint_dir=checkpoint_dir,
            resume=resume,
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise NuwaError(
            f"fine-tuning in {processes} processes was asked for in a process of torchrun",
            hint="start the search without torchrun",
        )
    threads = max(1, torch.get_num_threads() // processes)
    work = SpreadWork(student, data, teacher, config, checkpoint_dir, resume, threads, PATIENCE_S)
    with tempfile.TemporaryDirectory(prefix="nuwa-finetune-") as place:
        folder = Path(place)
        write_whole(folder / WORK, work)
        return run_processes(
            folder, processes, threads=threads, has_gpus=config.accelerator != "cpu", progress=progress
        )


def run_processes(
    folder: Path, processes: int, *, threads: int, has_gpus: bool, progress: Callable[[Progress], None] | None
) -> FinetuneResult:
    """Start the processes on the work that lies in ``folder``, and wait for its result; see ``finetune_in``.

    Args:
        folder: Where the work was written, and the result and messages of the processes will be.
        processes: How many torchrun starts.
        threads: Of each process.
        has_gpus: Whether they may see GPUs; they compute on cores where not.
        progress: Told of steps and scores by the first process; None for nobody.
    """
    heard: dict[str, Callable[..., object]] = {"count": count, "progress": progress or (lambda _: None)}
    messages = MessageReader(folder)

    def listen() -> None:
        for name, values in messages.new():
            heard[name](*values)

    with (folder / LOG).open("wb") as log:
        command = [sys.executable, "-m", "nuwa_search.deploy.train.spread_launch", str(folder), str(processes)]
        launched = subprocess.Popen(
            command,
            env=_environment(threads, has_gpus=has_gpus),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is passed on once, and not by the terminal too
        )
        try:
            while launched.poll() is None:
                listen()
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            launched.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                launched.wait(GRACE_S)
            raise
        finally:
            if launched.poll() is None:  # its processes see that it is gone, and end
                launched.kill()
                launched.wait()
    listen()
    if launched.returncode == 0 and (folder / RESULT).exists():
        found: FinetuneResult = read_whole(folder / RESULT)
        return found
    raise _failure(folder, processes, launched.returncode)


def _environment(threads: int, *, has_gpus: bool) -> dict[str, str]:
    """Let the processes find this program wherever they start, and share the cores."""
    paths = [str(PROGRAM), *filter(None, [os.environ.get("PYTHONPATH")])]
    hidden = {} if has_gpus else {"CUDA_VISIBLE_DEVICES": ""}  # else they would join over NCCL
    return {**os.environ, **hidden, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(threads)}


def _failure(folder: Path, processes: int, code: int) -> Exception:
    """Find the process that failed first in the order of causes, and say so."""
    found = sorted((read_whole(path) for path in folder.glob(f"{FAILED}.*")), key=_order_of_causes)
    if not found:
        lines = (folder / LOG).read_text(errors="replace").strip().splitlines()[-LOG_LINES:]
        told = f"torchrun ended with {code}: {' / '.join(lines)}" if lines else f"torchrun ended with {code}"
    else:
        first: Failed = found[0]
        if isinstance(first.error, NuwaError):
            return first.error
        if first.error is not None and is_out_of_memory(first.error):
            return out_of_memory(first.error)
        told = f"process {first.rank} of {processes} {first.told}"
        if first.told.endswith(signal.SIGKILL.name):
            told += "; Linux kills one where memory runs out (dmesg says so)"
    return OutsideError(
        f"fine-tuning in {processes} processes failed: {told}",
        hint="--resume goes on from the last checkpoint; --finetune-processes 1 fine-tunes in one process",
    )


def _order_of_causes(one: Failed) -> tuple[int, int]:
    """Put what was ended from outside and what is said plainly before what others raise when one is gone."""
    if one.error is None:
        return 0, one.rank
    return (1 if isinstance(one.error, NuwaError) or is_out_of_memory(one.error) else 2), one.rank
