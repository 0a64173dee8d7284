"""How a checkpoint's images are made, from the configuration that timm keeps with it."""

import math
from collections.abc import Mapping
from typing import Any, cast

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import CropMode, Interpolation, Preprocess
from nuwa_search.core.img_size import ImgSize

DEFAULT_CROP_PCT = 0.875
"""timm's, where a checkpoint names none (``timm.data.constants``)."""


def preprocess_from_config(config: Mapping[str, Any], *, img_size: ImgSize, in_chans: int, where: str) -> Preprocess:
    """Read the evaluation transform of a checkpoint; what timm fills in is filled in alike.

    Args:
        config: timm's ``pretrained_cfg``: ``mean``, ``std`` (a number, or one per channel), ``interpolation``,
            ``crop_pct`` and ``crop_mode``.
        img_size: Of the network.
        in_chans: Of the network; a single mean or std stands for all of them.
        where: The checkpoint, for messages.

    Raises:
        NuwaError: If a value is of another kind or out of range, or a name is unknown.
    """
    hint = "config.json (pretrained_cfg) says how the images of this checkpoint are made"
    default = Preprocess(img_size=img_size)
    crop_pct = config.get("crop_pct") or DEFAULT_CROP_PCT
    if not _is_number(crop_pct):
        raise NuwaError(f"{where} cannot be fed: crop_pct {crop_pct!r} is no number", hint=hint)
    try:
        return Preprocess(
            img_size=img_size,
            mean=_per_channel(_or(config.get("mean"), default.mean), "mean", in_chans, hint),
            std=_per_channel(_or(config.get("std"), default.std), "std", in_chans, hint),
            interpolation=cast(Interpolation, config.get("interpolation") or "bicubic"),
            crop_pct=float(crop_pct),
            crop_mode=cast(CropMode, config.get("crop_mode") or "center"),
        )
    except NuwaError as error:
        raise NuwaError(f"{where} cannot be fed: {error}", hint=error.hint or hint) from error


def _per_channel(values: Any, name: str, in_chans: int, hint: str) -> tuple[float, ...]:
    given = [values] if _is_number(values) else values
    if not isinstance(given, list | tuple) or not all(_is_number(value) for value in given):
        raise NuwaError(f"{name} {values!r} is neither a number nor a list of numbers", hint=hint)
    if len(given) == 1:
        given = [*given] * in_chans
    if len(given) != in_chans:
        raise NuwaError(f"{name} has {len(given)} values, wanted one for each of {in_chans} channels", hint=hint)
    return tuple(float(value) for value in given)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
