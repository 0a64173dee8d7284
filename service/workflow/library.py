"""The library of single-block replacements of a base for a task, made once and cached."""

from collections.abc import Callable

import torch

from nuwa_search.core.cache import Cache, content_key
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.library import NUM_IMAGES, Library, LibraryRow, build_library, library_archs
from nuwa_search.search.scorer import SubnetScore, TeacherScorer
from nuwa_search.search.space import SearchSpace
from nuwa_search.service.workflow.hooks import Hooks
from nuwa_search.service.workflow.inputs import Inputs

STAGE = "library"


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
    """
    archs = library_archs(space)
    num_images = min(NUM_IMAGES, len(scorer.inputs))
    key = content_key(
        inputs.base.base_id,
        inputs.task.task_id,
        deriver.options.canonical,
        seed,
        num_images,
        *(arch.arch_id for arch in archs),
    )
    found = cache.load(STAGE, key)
    if found is not None and found["scores"].shape == (len(archs), 4):
        rows = zip(archs, found["scores"].tolist(), strict=True)
        return Library(space.base, tuple(LibraryRow(a, SubnetScore(s[0], s[1], s[2], int(s[3]))) for a, s in rows))
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
    values = [[r.score.kl, r.score.kl_first, r.score.top1, float(r.score.num_images)] for r in library.rows]
    cache.save(STAGE, key, {"scores": torch.tensor(values, dtype=torch.float64)})
    return library
