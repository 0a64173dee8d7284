"""What a fine-tuning was started with, kept while it runs so that `--resume` needs no other word."""

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.records import record_from_dict
from nuwa_search.core.source_name import absolute_path

TeacherKind = Literal["base", "tuned"]


@dataclass(frozen=True)
class FinetuneRequest:
    """Everything that decides what a fine-tuning of a bundle comes to.

    Args:
        base: What teaches: the base that the subnet was cut from. None takes the one that the bundle names.
        data: Images; None takes those that the bundle names, or the package's sample.
        label_column: Of Parquet files.
        steps: Optimiser steps; None for ``epochs``.
        epochs: Passes over the training images; None for the default number of steps.
        seed: Of splits, order and augmentation.
        teacher: ``base`` as it is, or ``tuned``: itself fine-tuned on the task first.
        relation_scale: Of matching how tokens relate in queries, keys and values of the middle blocks; 0 for none.
        accumulate: Parts that a batch is computed in.
        compile: Whether to use ``torch.compile``.
    """

    base: str | None = None
    data: str | None = None
    label_column: str | None = None
    steps: int | None = None
    epochs: float | None = None
    seed: int = 0
    teacher: TeacherKind = "base"
    relation_scale: float = 0.0
    accumulate: int = 1
    compile: bool = False


def with_absolute_paths(request: FinetuneRequest) -> FinetuneRequest:
    """Return the request as it reads from any folder; names that are no paths stay."""
    return dataclasses.replace(request, base=absolute_path(request.base), data=absolute_path(request.data))


def save_request(path: Path, request: FinetuneRequest) -> None:
    """Write down what was asked for, before the run begins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(dataclasses.asdict(request), indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def resumed_request(path: Path, asked: FinetuneRequest, *, named: Collection[str], folder: Path) -> FinetuneRequest:
    """Read what an interrupted run was started with.

    Args:
        path: Where ``save_request`` put it.
        asked: What this command line says.
        named: Fields of ``asked`` that the user named; the others are defaults and give way.
        folder: The bundle, for messages.

    Raises:
        NuwaError: If no run was interrupted, or a named setting is another than that run's.
    """
    if not path.exists():
        raise NuwaError(
            f"no fine-tuning of {folder} was interrupted: there is nothing to resume",
            hint="start one without --resume; with another --cache-dir, name it",
        )
    hint = "remove it and start without --resume"
    try:
        known = record_from_dict(FinetuneRequest, read_object(path, what="the request", hint=hint), where="the request")
    except NuwaError as error:
        raise NuwaError(f"{path} cannot be read: {error.message}", hint=hint) from error
    for name in sorted(named):
        wanted, began = getattr(asked, name), getattr(known, name)
        if wanted != began:
            raise NuwaError(
                f"the fine-tuning of {folder} was started with {name.replace('_', ' ')} {began}, found {wanted}",
                hint="leave it out, or start anew without --resume",
            )
    return known
