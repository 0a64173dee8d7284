"""The library of single-block replacements of a base for a task, made once and cached."""

import math
from collections.abc import Callable

import torch

from nuwa_search.core.arch import Arch
from nuwa_search.core.cache import Cache, content_key
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.library import NUM_IMAGES, Library, LibraryRow, build_library, library_archs
from nuwa_search.search.linear_changes import is_linearised
from nuwa_search.search.scorer import FIRST_IMAGES, SubnetScore, TeacherScorer
from nuwa_search.search.space import SearchSpace

STAGE = "library"
LIBRARY_VERSION = "3"
"""Of what is kept and how it is made: the second holds the KL and the changed logits of every image; in the third
gradients are taken behind every branch."""


def cached_library(
    inputs: Inputs,
    *,
    space: SearchSpace,
    deriver: Deriver,
    scorer: TeacherScorer,
    cache: Cache,
    seed: int,
    hooks: Hooks,
    should_stop: Callable[[], bool] | None = None,
) -> Library:
    """Read the library of this base, task and space, or score it now.

    Where ``should_stop`` ends it early it is short, and is not kept.

    Args:
        inputs: Decoded images, base and task.
        space: Search space; it decides which single cuts there are.
        deriver: Cuts the subnets.
        scorer: Scores them on images of the search split.
        cache: Where the scores are kept.
        seed: Seed of the choice of images; part of the cache key.
        hooks: Callbacks that are told of progress.
        should_stop: Asked before each cut; True ends the library early. None never ends it early.
    """
    archs = library_archs(space)
    num_images = min(NUM_IMAGES, len(scorer.inputs))
    key = content_key(
        LIBRARY_VERSION,
        inputs.base.base_id,
        inputs.task.task_id,
        deriver.options.canonical,
        seed,
        num_images,
        *(("linearised",) if is_linearised(space.base) else ()),
        *(arch.arch_id for arch in archs),
    )
    found = cache.load(STAGE, key)
    if found is not None and {"kls", "changes", "top1"} <= found.keys() and len(found["kls"]) == len(archs):
        return Library(space.base, tuple(_row(arch, found, k) for k, arch in enumerate(archs)))
    library = build_library(
        space,
        deriver=deriver,
        scorer=scorer,
        teacher=inputs.teacher.model,
        on_row=lambda done, total: hooks.count("scoring single cuts", done, total),
        should_stop=should_stop,
    )
    if len(library.rows) < len(archs):
        hooks.step(f"the time allows {len(library.rows)} of {len(archs)} single cuts")
        return library
    changes = [row.change for row in library.rows if row.change is not None]
    kept = {
        "kls": torch.tensor([row.score.kls for row in library.rows], dtype=torch.float64),
        "changes": torch.stack(changes),
        "top1": torch.tensor(
            [math.nan if row.score.top1 is None else row.score.top1 for row in library.rows], dtype=torch.float64
        ),
    }
    cache.save(STAGE, key, kept)
    hooks.step(
        f"{len(library.rows)} single cuts on {library.rows[0].score.num_images} images each: other images would turn "
        f"{100 * library.order_error:.1f} % of their order"
    )
    return library


def _row(arch: Arch, found: dict[str, torch.Tensor], k: int) -> LibraryRow:
    kls = found["kls"][k]
    first = float(kls[:FIRST_IMAGES].mean())
    top1 = float(found["top1"][k])  # not a number where pixels have classes
    score = SubnetScore(float(kls.mean()), first, None if math.isnan(top1) else top1, len(kls), kls=tuple(kls.tolist()))
    return LibraryRow(arch, score, found["changes"][k])
