"""What a search was asked for, as a value that is stored so that it can be resumed."""

import dataclasses
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nuwa_search.core.errors import NuwaError

BudgetStatistic = Literal["median", "p95", "p99"]

STUDY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Of names that studies are started under: they become folders and parts of addresses."""


@dataclass(frozen=True)
class SearchRequest:
    """One search.

    Args:
        budget_ms: Latency that the compiled model must meet.
        device: Name of the device.
        base: Name or folder of the base; ``default`` ships in the package.
        data: Where the images are; None for the sample that ships with the default base.
        label_column: Label column of Parquet files; None tries the usual ones.
        classes: Class names or indices; None for all.
        budget_statistic: Which statistic of the measured latency the budget compares.
        max_memory_mb: Peak memory limit; None for none.
        trials: Subnets to score.
        workers: Processes that derive and score; with one the same seed makes the same trials.
        timeout_s: Wall-clock limit of search, competition and fine-tuning together; None for none.
        sampler: Name of the Optuna sampler, or ``auto``.
        finetune_epochs: Passes over the training images; None leaves it to the steps.
        finetune_steps: Steps; None for the default.
        predictor_id: Latency predictor to pin; None fits or reuses the newest.
        judge: Subnets that compete in short fine-tunings; 1 takes the best by KL.
        small_model_steps: Pretraining steps of a uniformly small ViT of equal latency that then competes with
            the winner; None leaves it out.
        pareto: Whether the study looks for the whole front.
        explain: Whether to say why this arch, and draw the front beside the bundle.
        finetune: Whether the winner is fine-tuned.
        deploy: Whether the winner is exported, built and verified.
        seed: Of everything random.
        bundle_dir: Where the bundle goes.
    """

    budget_ms: float
    device: str = "jetson-nano"
    base: str = "default"
    data: str | None = None
    label_column: str | None = None
    classes: tuple[str, ...] | None = None
    budget_statistic: BudgetStatistic = "median"
    max_memory_mb: float | None = None
    trials: int = 60
    workers: int = 1
    timeout_s: float | None = None
    sampler: str = "auto"
    finetune_epochs: float | None = None
    finetune_steps: int | None = None
    predictor_id: str | None = None
    judge: int = 1
    small_model_steps: int | None = None
    pareto: bool = False
    explain: bool = False
    finetune: bool = True
    deploy: bool = True
    seed: int = 0
    bundle_dir: str = ""

    def __post_init__(self) -> None:
        if self.base != "default" and self.data is None:
            raise NuwaError(
                f"base {self.base!r} needs images: --data is missing",
                hint="name an image folder, a Parquet file or folder, or a data set: --data PATH",
            )


def new_study(device: str, budget_ms: float) -> str:
    """Make a name for a study of a device and a budget that was given none."""
    word = "".join(letter if re.fullmatch(r"[A-Za-z0-9._-]", letter) else "-" for letter in device)
    return f"{word.lstrip('._-') or 'study'}-{budget_ms:g}ms-{secrets.token_hex(3)}"


def check_study(study: str) -> str:
    """Return a new study's name, if it can be the name of a folder and a part of an address.

    Raises:
        NuwaError: If it cannot.
    """
    if not re.fullmatch(STUDY_PATTERN, study):
        raise NuwaError(
            f"a study cannot be named {study!r}",
            hint="take at most 100 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    return study


def dict_from_request(request: SearchRequest) -> dict[str, Any]:
    """Turn a request into plain JSON values."""
    return dataclasses.asdict(request)


def request_from_dict(values: Mapping[str, Any]) -> SearchRequest:
    """Read a stored request back."""
    classes = values.get("classes")
    return SearchRequest(**{**values, "classes": None if classes is None else tuple(classes)})
