"""Keywords of the library's verbs, for type checkers and editors.

Made from the fields of each request by `python docs/make_keywords.py` (a test compares): a field is said once, there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict


class SearchKeywords(TypedDict, total=False):
    """Of ``Lab.search``: the options of docs/options.md, by their names in the API."""

    budget_ms: float
    device: str
    more_budgets: Sequence[str]
    base: str | Path
    img_size: int | tuple[int, int] | None
    img_sizes: Sequence[int | tuple[int, int]] | None
    data: str | Path | None
    task: Literal["auto", "classification", "segmentation"]
    label_column: str | None
    classes: Sequence[str] | None
    budget_statistic: Literal["median", "p95", "p99", "sustained"]
    max_memory_mb: float | None
    metric: Literal["top1", "balanced", "miou"]
    pool: Literal["auto", "token", "avg", "token_avg"]
    keep: Sequence[str]
    trials: int
    workers: int
    batch: int | None
    executor: Literal["local", "ray"]
    ray_address: str | None
    timeout_s: float | None
    accelerator: Literal["auto", "cpu", "cuda"]
    sampler: str
    finetune_epochs: float | None
    finetune_steps: int | None
    finetune_processes: int | None
    predictor_id: str | None
    from_study: str | None
    judge: int
    small_model_steps: int | None
    pareto: bool
    explain: bool
    finetune: bool
    deploy: bool
    seed: int
    output: str | Path


class DecomposeKeywords(TypedDict, total=False):
    """Of ``Lab.decompose``."""

    devices: Sequence[str]
    budget_ms: float
    base: str | Path
    data: str | Path | None
    label_column: str | None
    classes: Sequence[str] | None
    img_size: int | tuple[int, int] | None
    groups: Literal["confusion", "balanced", "random"]
    sub_models: int | None
    network: str | None
    cameras: bool
    first_coordinates: bool
    max_memory_mb: float | None
    mean_ms: float | None
    needed: int | None
    first_share: float
    trials: int
    finetune_steps: int | None
    accelerator: Literal["auto", "cpu", "cuda"]
    seed: int
    output: str | Path


class ProfileKeywords(TypedDict, total=False):
    """Of ``Lab.profile``."""

    base: str | Path
    img_size: int | tuple[int, int] | None
    img_sizes: Sequence[int | tuple[int, int]] | None
    minutes: float | None
    from_: str | None
    import_: str | Path | None
    seed: int


class DeriveKeywords(TypedDict, total=False):
    """Of ``Lab.derive``."""

    base: str | Path
    data: str | Path | None
    label_column: str | None
    classes: Sequence[str] | None
    seed: int
    img_size: int | tuple[int, int] | None


class EvaluateKeywords(TypedDict, total=False):
    """Of ``Lab.evaluate``."""

    data: str | Path | None
    label_column: str | None
    classes: Sequence[str] | None
    split: str | None
    whole_head: bool
    metric: Literal["top1", "balanced", "miou"] | None
    img_size: int | tuple[int, int] | None


class FinetuneKeywords(TypedDict, total=False):
    """Of ``Lab.finetune``."""

    base: str | Path | None
    data: str | Path | None
    label_column: str | None
    steps: int | None
    epochs: float | None
    seed: int
    teacher: Literal["base", "tuned"]
    relation_scale: float
    accumulate: int
    compile: bool


class ExportKeywords(TypedDict, total=False):
    """Of ``Lab.export``."""

    precision: Literal["fp32", "fp16", "int8"] | None
    max_loss: float
    input_kind: Literal["normalised", "unit", "uint8"]
    output_kind: Literal["logits", "labels"]
    trim_tokens: bool
    budget_ms: float | None
    budget_statistic: Literal["median", "p95", "p99", "sustained"] | None
    base: str | Path | None
    data: str | Path | None
    label_column: str | None
    seed: int


class QueryKeywords(TypedDict, total=False):
    """Of ``Lab.query``."""

    device: str | None
    max_ms: float | None
    min_top1: float | None
    classes: Sequence[str] | None
    base: str | Path | None
    measured_only: bool
    pareto: bool
    explain_budget: bool
    compare: Sequence[str] | None
    model: str | None
    sort: str | None
    limit: int | None
    sql: str | None


class TrainBaseKeywords(TypedDict, total=False):
    """Of ``train_base``."""

    label_column: str | None
    steps: int | None
    batch_size: int | None
    minutes: float | None
    seed: int
    timm_name: str
    pretrained: bool
    model_args: Mapping[str, Any]
