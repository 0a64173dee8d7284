"""How long a search would take: by earlier searches on this machine, else by a few images through the base."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import Base
from nuwa_search.core.images import ImageSet
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import split_tensors
from nuwa_search.predictors.device_predictor import find_known_predictor, knows_sizes
from nuwa_search.search.derive.defaults import is_small, options_for
from nuwa_search.search.explore import MAX_SEEDS, most_runs
from nuwa_search.search.finalists import LARGE_REFINE_IMAGES, REFINE_IMAGES
from nuwa_search.search.img_sizes import profiled_sizes
from nuwa_search.search.job.inputs import Sources
from nuwa_search.search.job.searched_sizes import wanted_sizes
from nuwa_search.search.job.study_rounds import PATIENCE
from nuwa_search.search.job.tune import DEFAULT_STEPS, LARGE_BATCH, LARGE_STEPS
from nuwa_search.search.keep import search_space
from nuwa_search.search.library import NUM_IMAGES as LIBRARY_IMAGES
from nuwa_search.search.library import library_archs
from nuwa_search.search.request import SearchRequest, request_from_dict
from nuwa_search.search.scorer import LARGE_IMAGES as LARGE_SCORER_IMAGES
from nuwa_search.search.scorer import NUM_IMAGES as SCORER_IMAGES
from nuwa_search.search.stages import STAGES
from nuwa_search.store.records import SearchRecord
from nuwa_search.store.same_device import pinned_for
from nuwa_search.store.store import Store

MAX_DECODED = 32
"""Images that a dry run decodes at most."""
TIMED_IMAGES = 16
"""Of them, timed through the base once it is warm."""
BATCH_SIZE = 64
"""Of fine-tuning (``FinetuneConfig``), where epochs become steps."""
PASSES: Mapping[str, float] = {
    "profile": 50,
    "statistics": 3.1,
    "cuts": 0.055,
    "study": 0.23,
    "refine": 6.0,
    "finetune": 53,
    "export": 160,
    "verify": 1.5,
}
"""What one of a stage's ``Sizes`` costs, in passes of one image through the base in FP32: CPU seconds of the stages of
a search with the packaged base (``benchmarks/results/real_size.csv``), over those of a pass there (8.2 ms). Cuts and
subnets are run in part, and in bf16, so they cost far less than one. The profile is one that was known."""
LARGE_PASSES: Mapping[str, float] = {
    "profile": 110,
    "statistics": 0.6,
    "cuts": 0.027,
    "study": 0.025,
    "refine": 2.2,
    "finetune": 17,
    "export": 75,
    "verify": 0.65,
}
"""The same where an image has more than ``FEW_TOKENS`` tokens: of the default search and the tiles, over those of a
pass there (0.15 s)."""
LARGE_LIBRARY_IMAGES = 64
"""Images of single cuts that the default base takes, of 128 at most."""
EXPLORED_TRIALS = MAX_SEEDS + PATIENCE
"""Subnets that an explored study scores where none of its own proposals is better."""
PROFILE_S = 55.0
"""Of an emulated device that was never profiled for the base, in that search: 247 table rows and 48 nets."""


@dataclass(frozen=True)
class Sizes:
    """What the time of each stage grows with.

    Args:
        num_train: Images.
        num_search: Images.
        num_test: Images.
        trials: Subnets to score.
        steps: Steps of fine-tuning, of ``BATCH_SIZE`` images; 0 without one.
        base: Its number of tokens and blocks.
    """

    num_train: int
    num_search: int
    num_test: int
    trials: int
    steps: float
    base: Arch

    def of(self, stage: str, *, num_cuts: int) -> float:
        """Return the size of a stage: images, or images times subnets, or steps."""
        options, small = options_for(self.base), is_small(self.base)
        sensitivity = min(options.sensitivity_images, self.num_train)
        scored, refined = (SCORER_IMAGES, REFINE_IMAGES) if small else (LARGE_SCORER_IMAGES, LARGE_REFINE_IMAGES)
        seen = min(options.least_images, self.num_train) + sensitivity
        if not small:  # what passes for the head is most of the statistics
            seen = self.num_train + self.num_search
        priced = min(LIBRARY_IMAGES if small else LARGE_LIBRARY_IMAGES, self.num_search)
        study = self.trials * min(scored, self.num_search)
        if not small:  # explored first, and then settled
            study = min(self.trials, EXPLORED_TRIALS) * min(scored, self.num_search)
            study += most_runs(len(self.base.blocks)) * priced
        sizes: dict[str, float] = {
            "profile": 1.0,
            "statistics": seen,
            "cuts": num_cuts * priced,
            "study": study,
            "refine": min(refined, self.num_train),
            "finetune": self.steps,
            "export": 1.0,
            "verify": self.num_test,
        }
        return sizes[stage]


@dataclass(frozen=True)
class TimeEstimate:
    """How long a search would take, and how that was found.

    Args:
        seconds: By stage, and in ``total``; None where a stage cannot be told, as the profile of a board.
        source: ``earlier searches``, ``timed images``, or both.
        num_searches: Earlier ones that were read.
        num_decoded: Images that were decoded for it.
    """

    seconds: Mapping[str, float | None]
    source: str
    num_searches: int
    num_decoded: int

    def to_json(self) -> dict[str, Any]:
        """Render the plan's part about time."""
        return {
            "seconds": dict(self.seconds),
            "seconds_from": self.source,
            "num_searches_read": self.num_searches,
            "num_images_decoded": self.num_decoded,
        }


def estimate_time(
    request: SearchRequest, sources: Sources, store: Store, *, bad: frozenset[str] = frozenset()
) -> TimeEstimate:
    """Estimate the seconds of each stage; what earlier searches do not tell, a few timed images do.

    Args:
        request: What is asked for, with all options.
        sources: Base, images and device.
        store: The database.
        bad: Images, by name, that cannot be read.
    """
    task = sources.task
    further = wanted_sizes(request, sources)
    num_cuts = len(library_archs(search_space(sources.teacher_archs[0], keep=request.keep, img_sizes=further)))
    base, steps = sources.base.arch, _steps(request, len(task.train), sources.base.arch)
    sizes = Sizes(len(task.train), len(task.search), len(task.test), request.trials, steps, base)
    unknown = []
    for spec in sources.devices:
        pinned = pinned_for(spec, request.predictor_id, devices=sources.devices, store=store)
        arch, sized = sources.profiled_arch, profiled_sizes(further)
        known = find_known_predictor(store, spec, arch, predictor_id=pinned, img_sizes=sized)
        is_whole = known is not None and (knows_sizes(known.predictor, arch, sized) or pinned is not None)
        if known is None or (spec.kind == "emulated" and not is_whole):
            unknown.append(spec)
    earlier = [found for record in store.searches() if (found := _spent(record, sources.base)) is not None]
    rates = _rates(earlier, num_cuts=num_cuts, is_profiled=not unknown)
    wanted = [stage for stage in STAGES if sizes.of(stage, num_cuts=num_cuts)]
    missing = [stage for stage in wanted if stage not in rates]
    seconds: dict[str, float | None] = dict.fromkeys(STAGES, 0.0)
    seconds |= {stage: rates[stage] * sizes.of(stage, num_cuts=num_cuts) for stage in wanted if stage in rates}
    num_decoded = 0
    if missing:
        pace = _timed(sources, task.train, bad)
        num_decoded = pace.num_decoded
        seconds |= {stage: pace.seconds(stage, sizes, num_cuts=num_cuts) for stage in missing}
        if "profile" in missing and unknown:
            is_emulated = all(spec.kind == "emulated" for spec in unknown)
            seconds["profile"] = PROFILE_S * len(unknown) if is_emulated else None
    told = [value for value in seconds.values() if value is not None]
    used = [name for name, is_used in (("earlier searches", rates), ("timed images", num_decoded)) if is_used]
    rounded = {stage: None if value is None else round(value, 1) for stage, value in seconds.items()}
    return TimeEstimate(
        rounded | {"total": round(sum(told), 1) if len(told) == len(seconds) else None},
        " and ".join(used),
        len(earlier),
        num_decoded,
    )


def _steps(request: SearchRequest, num_train: int, base: Arch) -> float:
    """Count the fine-tuning's steps, as ``tune.finetune_config`` chooses them, in steps of ``BATCH_SIZE`` images."""
    if not request.finetune:
        return 0
    if request.finetune_steps is None and request.finetune_epochs is not None:
        return request.finetune_epochs * num_train / BATCH_SIZE
    if is_small(base):
        return request.finetune_steps or DEFAULT_STEPS
    return (request.finetune_steps or LARGE_STEPS) * LARGE_BATCH / BATCH_SIZE


@dataclass(frozen=True)
class _Spent:
    """What an earlier search of this base took on this machine."""

    sizes: Sizes
    seconds: Mapping[str, float]


def _spent(record: SearchRecord, base: Base) -> _Spent | None:
    """Read an earlier search; None of another base or machine, or of a version that timed no stages."""
    result = record.result or {}
    seconds, task = result.get("seconds") or {}, result.get("task") or {}
    is_ours = record.base_id == base.base_id and record.owner_host == socket.gethostname()
    if not is_ours or any(stage not in seconds for stage in STAGES):
        return None
    request = request_from_dict(record.settings)
    trials = (result.get("trials") or {}).get("scored", 0)
    num_train = task["num_train"]
    sizes = Sizes(
        num_train, task["num_search"], task["num_test"], trials, _steps(request, num_train, base.arch), base.arch
    )
    return _Spent(sizes, seconds)


def _rates(earlier: list[_Spent], *, num_cuts: int, is_profiled: bool) -> dict[str, float]:
    """Seconds per size of each stage: of the slowest earlier search, since the others may have found things cached.

    Where the device is profiled already, what is left of that stage is to export and measure the base: as long as the
    quickest took, and no longer than exporting and measuring a winner.
    """
    rates: dict[str, float] = {}
    for stage in STAGES:
        each = [
            one.seconds[stage] / size
            for one in earlier
            if one.seconds[stage] > 0 and (size := one.sizes.of(stage, num_cuts=num_cuts))
        ]
        if each:
            rates[stage] = min(each) if stage == "profile" and is_profiled else max(each)
    if is_profiled and "profile" in rates:
        rates["profile"] = min(rates["profile"], rates.get("export", rates["profile"]))
    return rates


@dataclass(frozen=True)
class _Pace:
    """Seconds to decode an image, and to take it through the base."""

    decode_s: float
    pass_s: float
    num_decoded: int

    def seconds(self, stage: str, sizes: Sizes, *, num_cuts: int) -> float:
        passes = PASSES if is_small(sizes.base) else LARGE_PASSES
        passed = passes[stage] * sizes.of(stage, num_cuts=num_cuts) * self.pass_s
        images = sizes.num_train + sizes.num_search + sizes.num_test  # test too, to tell copies by their pixels
        decoded = {"statistics": images, "verify": sizes.num_test}.get(stage, 0)
        return passed + decoded * self.decode_s


@torch.inference_mode()
def _timed(sources: Sources, images: ImageSet, bad: frozenset[str]) -> _Pace:
    """Decode a few images spread over the training split and take them through the base, twice: the first warms up."""
    readable = [place for place in range(len(images)) if images.name_of(place) not in bad]
    spread = np.unique(np.linspace(0, len(readable) - 1, min(TIMED_IMAGES, len(readable))).astype(int))
    few = images.take([readable[k] for k in spread])
    preprocess = sources.base.preprocess
    begun_s = time.perf_counter()
    pixels = split_tensors(few, preprocess).images
    decoded_s = time.perf_counter()
    values = normalise(pixels, preprocess)
    sources.base.model(values)
    warm_s = time.perf_counter()
    sources.base.model(values)
    return _Pace((decoded_s - begun_s) / len(few), (time.perf_counter() - warm_s) / len(few), len(few))
