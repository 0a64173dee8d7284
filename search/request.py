"""What a search is asked for: the one list of its options, stored with the study so that it can be resumed."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from nuwa_search.core.accelerator_choice import ACCELERATORS, Accelerator
from nuwa_search.core.budget_statistic import BUDGET_STATISTICS, BudgetStatistic
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import MAX_SIDE, ImgSize
from nuwa_search.core.metric import METRICS, Metric
from nuwa_search.core.pooling import HEAD_POOLS, HeadPool
from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA, PACKAGED_BASE
from nuwa_search.core.tasks.kind import TASK_CHOICES, TaskChoice
from nuwa_search.search.device_budget import DeviceBudget, budget_from_text, require_different
from nuwa_search.search.executor_name import EXECUTORS, ExecutorName
from nuwa_search.search.option import Option, options_of
from nuwa_search.search.samplers import SAMPLERS

MAX_SEED = 2**31 - 1
"""Of clients: what every generator of random numbers takes."""
MAX_CLASSES = 1000
"""Of clients: ImageNet's; also what a request body holds."""
MAX_DEVICES = 16
"""Of clients, beside the first: each is predicted for every subnet that is proposed."""
MAX_SIZES = 64
"""Of clients: multiples of a patch of 14 pixels up to 896."""
MAX_GLOBS = 1000
"""Of clients: a base has at most so many blocks (``core.arch.MAX_BLOCKS``)."""
MAX_NUMBER = 10**9
"""Of clients, in milliseconds, megabytes and seconds: far beyond any device or day."""


@dataclass(frozen=True)
class SearchRequest:
    """One search. A further option is one more field here: flag, setting, API, form and docs table follow from it.

    Raises:
        NuwaError: If an option cannot have its value, or a base of the user's comes without images.
    """

    # fmt: off
    budget_ms: Annotated[float, Option("budget",
        "Latency the compiled model must meet; repeated, one for each of several devices.", "MS|N@DEVICE",
        client_most=MAX_NUMBER, label="latency budget", unit="ms", hint="", is_main=True)]
    device: Annotated[str, Option("device", "Device, by name; `nuwa device ls` lists them.", hint="",
        is_main=True)] = "jetson-nano"
    more_budgets: Annotated[tuple[str, ...], Option("budgets", "Further devices, each with its budget.", "N@DEVICE",
        flag="budget-ms", empty="none", client_least=0, client_most=MAX_DEVICES, label="further budgets",
        hint="such as 8@jetson-orin-nano, with commas between: one model meets each")] = ()
    base: Annotated[str, Option("source", "Base ViT: folder, timm name, hf-hub:NAME, `vit_s14_focus` or `default`.",
        hint="vit_s14_focus, or a folder in the data roots of this service", is_main=True)] = DEMO_BASE
    img_size: Annotated[ImgSize | None, Option("side",
        "Size of the images in pixels, height first; positions are resampled as timm does.", "N|HxW",
        empty="the base's own",
        client_most=MAX_SIDE, label="image size", unit="px",
        hint="multiples of its patch, such as 224 or 224x168; empty: the base's own")] = None
    img_sizes: Annotated[tuple[ImgSize, ...] | None, Option("sides",
        "Image sizes to choose among, beside heads, widths and depth; the base teaches at its own.", "SIZE,SIZE",
        empty="the base's own", client_least=0,
        client_most=MAX_SIZES, label="image sizes to choose among", unit="px",
        hint="such as 224,168 or 224x168,168x126; empty: the base's own")] = None
    data: Annotated[str | None, Option("source", "Image folder, Parquet file or folder, or a data set on the Hub.",
        "SOURCE", empty="simulated-textiles", label="images",
        hint="empty: simulated textiles; needed with a base of your own", is_main=True)] = None
    task: Annotated[TaskChoice, Option("choice",
        "A class for each image, or for each pixel; auto goes by the layout of the data.",
        choices=TASK_CHOICES, label="task")] = "auto"
    label_column: Annotated[str | None, Option("text", "Column of Parquet files with labels, or masks.", "NAME",
        empty="label, then fine_label")] = None
    classes: Annotated[tuple[str, ...] | None, Option("classes", "Classes by name or index: a,b,c or @FILE.", "LIST",
        empty="all", client_least=1, client_most=MAX_CLASSES, hint="names with commas between", is_main=True)] = None
    budget_statistic: Annotated[BudgetStatistic, Option("choice", "Which latency the budget compares.",
        choices=BUDGET_STATISTICS,
        label="budget compares")] = "median"
    max_memory_mb: Annotated[float | None, Option("number", "Peak memory the model may take.", "MB", empty="no limit",
        client_most=MAX_NUMBER, label="memory at most", unit="MB")] = None
    metric: Annotated[Metric, Option("choice", "Accuracy that counts: images right, or mean recall over classes.",
        choices=METRICS, label="accuracy that counts")] = "top1"
    pool: Annotated[HeadPool, Option("choice",
        "What a fitted head reads of a base without one: class token, mean of the patches, both; auto compares.",
        choices=HEAD_POOLS, label="a fitted head reads")] = "auto"
    keep: Annotated[tuple[str, ...], Option("globs", "Part of the base that is not cut; may be repeated.", "GLOB",
        empty="nothing", client_least=0, client_most=MAX_GLOBS, label="parts to keep",
        hint="globs such as blocks.3.attn, blocks.3, blocks.1?.*, with commas between")] = ()
    trials: Annotated[int, Option("count", "Subnets to score.", is_resumable=True,
        is_main=True)] = 60
    workers: Annotated[int, Option("count", "Processes of this machine that derive and score.",
        is_resumable=True, client_most=64)] = 1
    batch: Annotated[int | None, Option("count",
        "Subnets scored at once; the same seed and batch make the same trials, wherever they are scored.",
        empty="as many as keep all processes busy", is_resumable=True, client_most=1000,
        label="subnets scored at once")] = None
    executor: Annotated[ExecutorName, Option("choice",
        "Where the work runs: on this machine, or on the nodes of a Ray cluster (extra `ray`).", choices=EXECUTORS,
        is_resumable=True, is_for_clients=False, label="runs on")] = "local"
    ray_address: Annotated[str | None, Option("text",
        "Ray cluster, by HOST:PORT of its head.", "ADDRESS",
        empty="the one on this machine, or one for this search alone", is_resumable=True, is_for_clients=False,
        label="Ray cluster")] = None
    timeout_s: Annotated[float | None, Option("number", "Time for search, competition and fine-tuning together.", "S",
        empty="no limit", is_resumable=True, client_most=MAX_NUMBER, label="time", unit="s")] = None
    accelerator: Annotated[Accelerator, Option("choice",
        "What statistics, scores and fine-tuning are computed on; auto takes a GPU where there is one.",
        choices=ACCELERATORS, is_resumable=True, label="computed on")] = "auto"
    sampler: Annotated[str, Option("choice", "Optuna's sampler.", choices=SAMPLERS)] = "auto"
    finetune_epochs: Annotated[float | None, Option("number", "Fine-tune for this many passes.", "N",
        empty="left to the steps", is_resumable=True, client_most=MAX_NUMBER, label="fine-tuning passes")] = None
    finetune_steps: Annotated[int | None, Option("count", "Fine-tune for this many steps.", "N",
        empty="as many as it takes", is_resumable=True, label="fine-tuning steps", is_main=True)] = None
    finetune_processes: Annotated[int | None, Option("count",
        "Processes of one machine that fine-tune (torchrun): a GPU each, or shares of its cores.", "N",
        empty="one; with --executor ray the GPUs of the largest node", is_resumable=True, client_most=64,
        label="fine-tuning processes")] = None
    predictor_id: Annotated[str | None, Option("text", "Pin this latency predictor.", "ID", flag="predictor",
        empty="the newest, or one fitted now", label="latency predictor")] = None
    from_study: Annotated[str | None, Option("text",
        "Score first what this study scored, with its splits and preprocessing.", "STUDY", empty="nothing",
        label="goes on from")] = None
    judge: Annotated[int, Option("count", "Subnets that compete in short fine-tunings; 1 takes the best by KL.",
        client_most=100, label="short fine-tunings")] = 1
    small_model_steps: Annotated[int | None, Option("count",
        "Also pretrain a small ViT of equal latency for so many steps; ships where it is better.", "STEPS",
        flag="small-model", empty="left out", is_resumable=True, label="small model")] = None
    pareto: Annotated[bool, Option("switch",
        "The whole front: nothing that another beats in both latency and accuracy.",
        label="search the whole front")] = False
    explain: Annotated[bool, Option("switch", "Say why this arch.", is_resumable=True,
        label="say why this arch")] = False
    finetune: Annotated[bool, Option("switch", "Ship the subnet as derived.", label="fine-tune the winner")] = True
    deploy: Annotated[bool, Option("switch", "Stop before export and build.", label="export, build and verify")] = True
    seed: Annotated[int, Option("whole", "Seed of everything random.", client_most=MAX_SEED)] = 0
    bundle_dir: Annotated[str, Option("folder", "Where the bundle goes.", "PATH", flag="output", short="-o",
        empty="runs/STUDY", client_name="output", label="bundle folder",
        hint="in the data roots of this service; empty: the study's name in the first")] = ""
    # fmt: on

    def __post_init__(self) -> None:
        for name, option in options_of(type(self)).items():
            settled = option.settled(getattr(self, name))
            object.__setattr__(self, name, settled)
            option.check(settled)
        require_different(self.device_budgets)
        require_classes(self.classes, task=self.task, data=self.data)
        if self.base not in (DEMO_BASE, PACKAGED_BASE) and self.data is None:
            raise NuwaError(
                f"base {self.base!r} needs images: --data is missing",
                hint="name an image folder, a Parquet file or folder, or a data set: --data PATH",
            )
        if self.accelerator == "cuda" and self.workers > 1:
            raise NuwaError(
                "--accelerator cuda and --workers were both given: a GPU scores nets one after the other",
                hint="leave one of them out",
            )
        if self.executor == "ray" and self.accelerator == "cuda":
            raise NuwaError(
                "--executor ray and --accelerator cuda were both given: the nodes of a cluster compute on their cores",
                hint="leave one of them out",
            )
        if self.executor == "ray" and self.workers > 1:
            raise NuwaError(
                "--executor ray and --workers were both given: a cluster scores on every core that its nodes declare",
                hint="leave --workers out; --batch says how many subnets are scored at once",
            )
        if self.keep and self.small_model_steps is not None:
            raise NuwaError(
                "--keep and --small-model were both given: a small model is pretrained from nothing, with no part of "
                "the base in it",
                hint="leave one of them out",
            )

    @property
    def device_budgets(self) -> tuple[DeviceBudget, ...]:
        """Every device with its budget, the first's first.

        Raises:
            NuwaError: If a further one cannot be read, or names no device.
        """
        more = tuple(budget_from_text(text) for text in self.more_budgets)
        if any(one.device is None for one in more):
            raise NuwaError(
                f"further budgets need a device each, found {', '.join(self.more_budgets)}",
                hint="such as 8@jetson-orin-nano",
            )
        return (DeviceBudget(self.budget_ms, self.device), *more)


def require_classes(classes: Sequence[str] | None, *, task: TaskChoice, data: str | None) -> None:
    """Refuse a single class where a class for each image is asked for: only masks have a background beside it.

    Args:
        classes: As asked for; None for all.
        task: Its kind; ``auto`` is known to be a class for each image where no data is named.
        data: None for the simulated textiles.

    Raises:
        NuwaError: If it is one class alone.
    """
    is_known = task == "classification" or (task == "auto" and data in (None, DEMO_DATA))
    if is_known and classes is not None and len(classes) < 2:
        raise NuwaError(
            f"a task needs at least two classes, found {len(classes)}", hint="name more with --classes a,b,c"
        )


OPTIONS = options_of(SearchRequest)


def dict_from_request(request: SearchRequest) -> dict[str, Any]:
    """Turn a request into plain JSON values; all of them, so that a study keeps its settings when a default changes."""
    return dataclasses.asdict(request)


def request_from_dict(values: Mapping[str, Any]) -> SearchRequest:
    """Read a stored request back; an option that it does not hold was not known then, and means what was done then.

    Raises:
        NuwaError: If it holds an option that this version does not know, lacks one that has no default, or holds
            a value that cannot be.
    """
    unknown = sorted(values.keys() - OPTIONS.keys())
    if unknown:
        raise NuwaError(
            f"this search was stored with {', '.join(unknown)}, which this version does not know",
            hint="pip install --upgrade nuwa-search, or start another study",
        )
    missing = [name for name, option in OPTIONS.items() if option.is_needed and name not in values]
    if missing:
        raise NuwaError(f"this search was stored without {', '.join(missing)}", hint="start another study")
    stored: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in values.items()}
    return SearchRequest(**stored)
