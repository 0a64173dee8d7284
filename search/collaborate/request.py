"""What a decomposition is asked for."""

from dataclasses import dataclass

from nuwa_search.core.accelerator_choice import Accelerator
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize, img_size_from_value
from nuwa_search.core.source_name import DEMO_BASE, PACKAGED_BASE
from nuwa_search.search.collaborate.grouping_names import GROUPINGS, Grouping
from nuwa_search.search.request import MAX_DEVICES, SearchRequest

MAX_SUB_MODELS = 64
"""What a collaboration may hold (``deploy.collaborate.network.MAX_BOARDS``)."""


@dataclass(frozen=True)
class DecomposeRequest:
    """One base over several devices.

    Args:
        devices: Names; one that is there several times is named several times.
        budget_ms: Median latency of an image, end to end.
        base: As of a search.
        data: As of a search; None for the simulated textiles.
        label_column: As of a search.
        classes: As of a search; None for all.
        img_size: As of a search.
        groups: How classes are grouped.
        sub_models: How many; None for one per device. A device that holds several runs them one after another.
        network: Rate and delay of one way (``100mbit,5ms``), or a file that ``nuwa collaborate probe`` wrote; None for
            a gigabit switch.
        cameras: Whether every board sees the image by itself, and none is sent.
        first_coordinates: Whether the coordinator runs on the first board, which has the camera: what that board is
            asked and answers goes over no network.
        max_memory_mb: Peak memory that the sub-models of a device may take together; None for no limit.
        mean_ms: Mean latency that routed images are to have; None for the most accurate route.
        needed: Answers that suffice where any k of n are fused; None for all but one.
        first_share: Share of its budget that the first sub-model takes, so that it can answer soon where images are
            routed.
        trials: Trials of each search.
        finetune_steps: Of each sub-model for its group, and again of all together; None for as many as a search takes.
        accelerator: As of a search.
        seed: Seed of everything random.
        output: Folder of the collaboration; empty for ``runs/STUDY``.

    Raises:
        NuwaError: If a value cannot be.
    """

    devices: tuple[str, ...]
    budget_ms: float
    base: str = DEMO_BASE
    data: str | None = None
    label_column: str | None = None
    classes: tuple[str, ...] | None = None
    img_size: ImgSize | None = None
    groups: Grouping = "confusion"
    sub_models: int | None = None
    network: str | None = None
    cameras: bool = False
    first_coordinates: bool = False
    max_memory_mb: float | None = None
    mean_ms: float | None = None
    needed: int | None = None
    first_share: float = 1.0
    trials: int = SearchRequest.trials
    finetune_steps: int | None = None
    accelerator: Accelerator = "auto"
    seed: int = 0
    output: str = ""

    def __post_init__(self) -> None:
        if self.img_size is not None:
            object.__setattr__(self, "img_size", img_size_from_value(self.img_size, "img_size"))
        if not 1 <= len(self.devices) <= MAX_DEVICES:
            raise NuwaError(
                f"a decomposition needs 1 to {MAX_DEVICES} devices, found {len(self.devices)}",
                hint="such as --devices jetson-nano,jetson-nano,jetson-orin-nano",
            )
        if self.groups not in GROUPINGS:
            raise NuwaError(f"groups must be one of {', '.join(GROUPINGS)}, found {self.groups!r}")
        if not len(self.devices) <= self.num_sub_models <= MAX_SUB_MODELS:
            raise NuwaError(
                f"{len(self.devices)} devices need {len(self.devices)} to {MAX_SUB_MODELS} sub-models, found "
                f"{self.num_sub_models}",
                hint="give --sub-models at least one for each device",
            )
        if self.needed is not None and not 1 <= self.needed <= self.num_sub_models:
            raise NuwaError(f"--needed {self.needed} is no number of {self.num_sub_models} sub-models")
        if not 0.05 <= self.first_share <= 1:
            raise NuwaError(f"--first-share is a share of a budget, 0.05 to 1, found {self.first_share:g}")
        if self.base not in (DEMO_BASE, PACKAGED_BASE) and self.data is None:
            raise NuwaError(
                f"base {self.base!r} needs images: --data is missing",
                hint="name an image folder, a Parquet file or folder, or a data set: --data PATH",
            )
        self.search_of(self.devices[0], self.budget_ms, classes=self.classes, folder="")  # what a search refuses

    @property
    def num_sub_models(self) -> int:
        return len(self.devices) if self.sub_models is None else self.sub_models

    @property
    def num_needed(self) -> int:
        """Answers that suffice where any k of n are fused."""
        return max(1, self.num_sub_models - 1) if self.needed is None else self.needed

    def search_of(
        self,
        device: str,
        budget_ms: float,
        *,
        classes: tuple[str, ...] | None,
        folder: str,
        finetune: int | None = None,
    ) -> SearchRequest:
        """Return the search of one sub-model, or of the single subnet that competes with all of them.

        Args:
            device: Of the subnet.
            budget_ms: Its own.
            classes: None for all.
            folder: Its bundle.
            finetune: Steps of fine-tuning, with export and certificate; None for neither.
        """
        return SearchRequest(
            budget_ms=budget_ms,
            device=device,
            base=self.base,
            img_size=self.img_size,
            data=self.data,
            label_column=self.label_column,
            classes=classes,
            trials=self.trials,
            finetune=finetune is not None,
            finetune_steps=finetune,
            deploy=finetune is not None,
            accelerator=self.accelerator,
            seed=self.seed,
            bundle_dir=folder,
        )
