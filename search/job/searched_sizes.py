"""The image sizes that one search chooses among: what was asked for, and what its devices' predictors know."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize, num_pixels_of, size_words
from nuwa_search.predictors.device_predictor import knows_sizes
from nuwa_search.search.img_sizes import smaller_sizes
from nuwa_search.search.job.inputs import Sources
from nuwa_search.search.request import SearchRequest

if TYPE_CHECKING:
    from nuwa_search.search.job.search_run import SearchStart
    from nuwa_search.search.job.survey import Survey


def wanted_sizes(request: SearchRequest, sources: Sources) -> tuple[ImgSize, ...]:
    """List the sizes below the base's own that are asked for; none where none is named.

    Raises:
        NuwaError: If the base cannot take one of them.
    """
    base, asked = sources.base.arch, request.img_sizes
    if sources.task.kind == "segmentation":  # the answer's grid would be another than the teacher's
        if asked is not None and smaller_sizes(asked, base):
            least = size_words(min(asked, key=num_pixels_of))
            raise NuwaError(
                "--img-sizes: nets that answer for every pixel are searched at the base's own image size",
                hint=f"leave --img-sizes out, or load the base smaller: --img-size {least}",
            )
        return ()
    return () if asked is None else smaller_sizes(asked, base)


def searched_sizes(start: "SearchStart", surveys: Sequence["Survey"]) -> tuple[ImgSize, ...]:
    """List the wanted sizes, which every device's predictor knows.

    Raises:
        NuwaError: If one is not known.
    """
    base, request = start.sources.base.arch, start.request
    wanted = wanted_sizes(request, start.sources)
    for survey in surveys:
        if knows_sizes(survey.start.predictor, base, wanted):
            continue
        name = survey.spec.name
        told = f"the latency predictor of {name} knows images of {size_words(base.img_size)} pixels only"
        own = "" if request.img_size is None else f" --img-size {size_words(request.img_size)}"
        profile = f"nuwa profile {name} --base {request.base}{own} --img-sizes {','.join(map(size_words, wanted))}"
        raise NuwaError(f"--img-sizes: {told}", hint=profile)
    return wanted
