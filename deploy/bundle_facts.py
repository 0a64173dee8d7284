"""What a bundle says of its model beside what was measured: where it is from, and how accurate it was when."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, cast

from nuwa_search.core import checked
from nuwa_search.core.budget import Budget
from nuwa_search.core.budget_statistic import BUDGET_STATISTICS, BudgetStatistic
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.metric import Metric
from nuwa_search.core.records import record_from_dict
from nuwa_search.deploy.quantise.facts import Int8Facts
from nuwa_search.deploy.score_facts import PixelFacts, ScoreFacts


@dataclass(frozen=True)
class FinetuneFacts:
    """One fine-tuning after the search.

    Args:
        steps: Optimiser steps done.
        teacher: ``base`` or ``tuned``.
        seed: Seed of everything random.
        top1_search_before: Top-1 accuracy (fraction) on the search split before it; None where pixels have classes.
        top1_search: The same after it.
        miou_search_before: Mean IoU on the search split before it, where pixels have classes; else None.
        miou_search: The same after it.
    """

    steps: int
    teacher: str
    seed: int
    top1_search_before: float | None
    top1_search: float | None
    miou_search_before: float | None = None
    miou_search: float | None = None


@dataclass(frozen=True)
class CertifiedBudget:
    """A budget that was certified before the weights changed, for the next export to the same device."""

    device: str
    budget: Budget


@dataclass(frozen=True)
class BundleFacts:
    """What is known about the model of a bundle; None where it is not known, or was never asked.

    Args:
        base: Name or folder of the base it was cut from.
        base_id: Identity of that base.
        base_licence: Licence of the base's weights, as written there; ``unknown`` where none is named.
        base_licence_source: Where it is written, such as ``model card of the base``.
        data: Name or folder of its images.
        label_column: Of Parquet files; None tries the usual ones.
        task_id: Identity of data, classes and splits.
        study: Search that found it; None where none did.
        top1: Fraction on ``split`` of these weights.
        top1_derived: The same before fine-tuning.
        base_top1_restricted: Of the base with its head restricted to the classes.
        base_top1_all_classes: Of the base with all its classes; None where it lacks some.
        split: Of the accuracies above.
        search_split_seen_by_base: Whether the base was trained on the search images; None where that is not known.
        none_below: Probability of the likeliest label below which an image is none of the labels; calibrated on the
            search split.
        metric: Which accuracy its head and weights were chosen by; written only where it is not ``top1``.
        scores: All that stands beside ``top1``: interval, images, recall by class, confusion.
        base_scores: The same of the base with its head restricted to the classes.
        pixel_scores: What stands in place of ``top1`` where pixels have classes.
        base_pixel_scores: The same of the base with its fitted head.
        miou_derived: Mean IoU before fine-tuning, there.
        subnet_id: Identity of arch, base, task and derivation; kept here while there is no certificate.
        derivation: Settings of the derivation, where no search chose them.
        kl_to_teacher_derived: Nats on the search split before fine-tuning.
        top1_search_derived: Fraction on the search split before fine-tuning.
        top1_before_finetune: What ``top1`` was, for weights that a fine-tuning has replaced.
        finetunes: Fine-tunings after the search, oldest first.
        budget: Certified for the weights of before.
        int8: What a quantisation came to.
        others: What other versions wrote, kept as it is.
    """

    base: str | None = None
    base_id: str | None = None
    base_licence: str | None = None
    base_licence_source: str | None = None
    data: str | None = None
    label_column: str | None = None
    task_id: str | None = None
    study: str | None = None
    top1: float | None = None
    top1_derived: float | None = None
    base_top1_restricted: float | None = None
    base_top1_all_classes: float | None = None
    split: str | None = None
    search_split_seen_by_base: bool | None = None
    none_below: float | None = None
    metric: Metric = "top1"
    scores: ScoreFacts | None = None
    base_scores: ScoreFacts | None = None
    pixel_scores: PixelFacts | None = None
    base_pixel_scores: PixelFacts | None = None
    miou_derived: float | None = None
    subnet_id: str | None = None
    derivation: Mapping[str, object] | None = None
    kl_to_teacher_derived: float | None = None
    top1_search_derived: float | None = None
    top1_before_finetune: float | None = None
    finetunes: tuple[FinetuneFacts, ...] = ()
    budget: CertifiedBudget | None = None
    int8: Int8Facts | None = None
    others: Mapping[str, object] = field(default_factory=dict)

    @property
    def after_export(self) -> "BundleFacts":
        """The facts as a certificate takes them over: it says subnet, budget and graph itself."""
        return replace(self, subnet_id=None, budget=None, int8=None)


NO_FACTS = BundleFacts()

_SCORES = ("scores", "base_scores", "pixel_scores", "base_pixel_scores")
_SPECIAL = ("metric", *_SCORES, "finetunes", "budget", "int8", "others")
_PLAIN = tuple(f.name for f in fields(BundleFacts) if f.name not in _SPECIAL)
_NULL_BESIDE = {
    "label_column": "task_id",
    "search_split_seen_by_base": "task_id",
    "base_top1_all_classes": "base_top1_restricted",
}
"""Facts of which None says something, and the fact beside which they are then written as null."""


def dict_from_facts(facts: BundleFacts) -> dict[str, Any]:
    """Turn facts into JSON values; what is not known is left out."""
    values: dict[str, Any] = {}
    for name in _PLAIN:
        value = getattr(facts, name)
        if value is not None or (name in _NULL_BESIDE and getattr(facts, _NULL_BESIDE[name]) is not None):
            values[name] = dict(value) if isinstance(value, Mapping) else value
    if facts.metric != "top1":
        values["metric"] = facts.metric
    for name in _SCORES:
        scores: ScoreFacts | PixelFacts | None = getattr(facts, name)
        if scores is not None:
            values[name] = scores.to_json()
    if facts.finetunes:
        values["finetunes"] = [_finetune_values(one) for one in facts.finetunes]
    if facts.budget is not None:
        budget = facts.budget.budget
        values["budget"] = {"device": facts.budget.device, "ms": budget.ms, "statistic": budget.statistic}
        if budget.max_memory_mb is not None:
            values["budget"]["max_memory_mb"] = budget.max_memory_mb
    if facts.int8 is not None:
        values["int8"] = facts.int8.to_json()
    return {**values, **{name: value for name, value in facts.others.items() if name not in values}}


def _finetune_values(one: FinetuneFacts) -> dict[str, Any]:
    """Turn one into JSON values; mIoU only where pixels have classes."""
    values = asdict(one)
    if one.miou_search is None:
        del values["miou_search"], values["miou_search_before"]
    return values


def facts_from_dict(values: object) -> BundleFacts:
    """Read facts back; those that this version does not know are kept.

    Raises:
        NuwaError: If a part has another form, or a number is none.
    """
    try:
        found = checked.mapping(values, "they")
        budget = found.get("budget")
        known = {name: found[name] for name in (*_PLAIN, *_SCORES, "metric", "finetunes", "int8") if name in found}
        return replace(
            record_from_dict(BundleFacts, known, where="they"),
            budget=None if budget is None else _certified_budget(checked.mapping(budget, "budget")),
            others={n: v for n, v in found.items() if n not in known and n != "budget"},
        )
    except NuwaError as error:
        raise NuwaError(
            f"the facts of a bundle cannot be read: {error.message}", hint="copy or make it again"
        ) from error


def _certified_budget(values: Mapping[str, object]) -> CertifiedBudget:
    return CertifiedBudget(
        checked.text(values.get("device"), "budget: device"), budget_from_dict(values, ms="ms", statistic="statistic")
    )


def budget_from_dict(values: Mapping[str, object], *, ms: str, statistic: str) -> Budget:
    """Read a budget whose milliseconds and statistic stand under these names.

    Raises:
        NuwaError: If one is no number, or the statistic is unknown.
    """
    limit = values.get("max_memory_mb")  # certificates of before knew none
    word = checked.one_of(values.get(statistic), "budget: statistic", BUDGET_STATISTICS)
    return Budget(
        checked.finite(values.get(ms), "budget: milliseconds", above=0),
        cast(BudgetStatistic, word),
        max_memory_mb=None if limit is None else checked.finite(limit, "budget: memory limit", above=0),
    )
