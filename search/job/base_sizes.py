"""The rows of the answer about the uncut base at every image size."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.img_size import ImgSize
from nuwa_search.search.base_sizes import BaseAtSize, SizedScore
from nuwa_search.search.job.survey import Survey
from nuwa_search.search.library import Library
from nuwa_search.search.scorer import SubnetScore
from nuwa_search.search.space import SearchSpace


def bases_at_sizes(
    space: SearchSpace,
    surveys: Sequence[Survey],
    library: Library,
    *,
    base_score: SubnetScore,
    tested: Mapping[ImgSize, ClassScores],
) -> tuple[BaseAtSize, ...]:
    """List the base at each size of ``space``, the largest first; none where there is one size only.

    Args:
        space: Search space of the study.
        surveys: The first has the predictor.
        library: Holds the uncut base's score at the smaller sizes, unless time ended it early.
        base_score: Of the base at its own size, on the library's images.
        tested: Accuracies on the test split by image size.
    """
    if len(space.sizes) < 2:
        return ()
    archs = [space.make(space.base.blocks, img_size=size) for size in reversed(space.sizes)]
    scores = {row.arch: _sized(row.score) for row in library.rows}
    scores[space.base] = replace(_sized(base_score), kl=0.0)  # but for rounding
    found = surveys[0].start.predictor.predict(archs)
    return tuple(
        BaseAtSize(
            arch,
            float(value),
            (float(low), float(high)),
            scores.get(arch),
            tested.get(arch.img_size),
        )
        for arch, value, low, high in zip(archs, found.value, found.lower, found.upper, strict=True)
    )


def _sized(score: SubnetScore) -> SizedScore:
    return SizedScore(score.kl, score.top1 or 0.0, score.num_images)
