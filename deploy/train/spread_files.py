"""What the processes of one spread fine-tuning hand each other, in a folder that only their account can open.

Pickles of this program, written and read by processes of one run: the folder is made for it and goes with it.
"""

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.teacher import Teacher

WORK, RESULT, MESSAGES, FAILED, LOG = "work", "result", "messages", "failed", "log"
"""Names in the folder: what is wanted, what came of it, progress, how processes ended, what libraries printed."""
LOOK_S = 1.0
"""Between two looks of a process at whether the one that started it is still there."""
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class SpreadWork:
    """One fine-tuning, as ``finetune`` takes it, and how each process works.

    Args:
        student: To train.
        data: Its images.
        teacher: None trains on labels alone.
        config: Settings.
        checkpoint_dir: Folder of checkpoints; None for none.
        resume: Whether to go on from the checkpoint there.
        threads: Of each process.
        patience_s: Seconds that one waits for another before it gives up.
    """

    student: PlainViT
    data: TaskTensors
    teacher: Teacher | None
    config: FinetuneConfig
    checkpoint_dir: Path | None
    resume: bool
    threads: int
    patience_s: float


@dataclass(frozen=True)
class Failed:
    """How one process failed.

    Args:
        rank: Of the process.
        error: What it raised; None where it was ended from outside.
        told: In words.
    """

    rank: int
    error: Exception | None
    told: str


def write_whole(path: Path, value: object) -> None:
    """Write a pickle that is there whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with beside.open("wb") as stream:
        pickle.dump(value, stream, protocol=pickle.HIGHEST_PROTOCOL)
    beside.replace(path)


def read_whole(path: Path) -> Any:
    """Read what ``write_whole`` of this run wrote."""
    return pickle.loads(path.read_bytes())  # noqa: S301 - written by this run, in a folder of this account


def add_message(folder: Path, name: str, values: tuple[object, ...]) -> None:
    """Add one message for the process that waits."""
    data = pickle.dumps((name, values))
    with (folder / MESSAGES).open("ab") as stream:
        stream.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)


class MessageReader:
    """Reads messages in their order, each once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MESSAGES
        self._place = 0

    def new(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Give those that were added whole since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._place)
            while len(head := stream.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
                length = int.from_bytes(head, "big")
                data = stream.read(length)
                if len(data) < length:  # it is being written
                    return
                self._place = stream.tell()
                yield pickle.loads(data)  # noqa: S301 - as above


def end_with_parent(end: Callable[[], object]) -> None:
    """Call ``end`` once the process that started this one is gone, however it ended: nothing goes on without it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        end()

    threading.Thread(target=watch, name="parent", daemon=True).start()
