"""A base in a local folder of transformers' layout: config.json, weights, preprocessor_config.json."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nuwa_search.core import checked
from nuwa_search.core.checkpoint_files import find_weights, read_checkpoint
from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_transformers import TransformersVit, is_transformers_config, vit_from_transformers
from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import MAX_SIDE, ImgSize, img_size_of, is_cut_by, sides_of, size_words
from nuwa_search.core.preprocess_config import preprocess_from_config
from nuwa_search.core.vit_at_size import vit_at_size

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers, as transformers stores them."""
_UNIT = 1 / 255
_HINT = f"{PREPROCESSOR} must be the one saved with these weights"


def is_transformers_folder(folder: Path) -> bool:
    """Whether a folder's ``config.json`` is transformers' and not timm's; False where there is none.

    Raises:
        NuwaError: If the file cannot be read as JSON.
    """
    path = folder / CONFIG
    return path.is_file() and is_transformers_config(read_object(path, what="config of a base", hint="fetch it again"))


def read_transformers_folder(folder: Path) -> tuple[TransformersVit, Preprocess]:
    """Read the base, at the size of the images that its preprocessor makes, and how it makes them.

    Positions of another grid are resampled as timm does.

    Raises:
        NuwaError: If a file is missing or damaged, the model type is none of the supported ones, or the
            preprocessing is none that timm has too.
    """
    config = read_object(folder / CONFIG, what="config of a base", hint="fetch it again")
    vit = vit_from_transformers(config, read_checkpoint(find_weights(folder)), name=str(folder))
    path = folder / PREPROCESSOR
    if not path.is_file():
        raise NuwaError(f"no base at {folder}: {PREPROCESSOR} is missing", hint="fetch it from where the base is from")
    told = read_object(path, what="preprocessing of a base", hint=_HINT)
    img_size, as_timm = timm_config_from_preprocessor(told, where=str(path))
    arch = vit.model.arch
    preprocess = preprocess_from_config(as_timm, img_size=img_size, in_chans=arch.in_chans, where=f"base {folder}")
    if not is_cut_by(img_size, arch.patch_size):
        raise NuwaError(
            f"base {folder}: images of {size_words(img_size)} pixels and patches of {arch.patch_size}", hint=_HINT
        )
    model = vit_at_size(vit.model, img_size, name=f"base {folder}")
    return TransformersVit(model, vit.has_head, vit.label_names, img_size), preprocess


def timm_config_from_preprocessor(told: Mapping[str, Any], *, where: str) -> tuple[ImgSize, dict[str, Any]]:
    """Say a transformers image processor in timm's words: size of the image, and a ``pretrained_cfg``.

    Where the margin of a centre crop is odd, timm rounds it up or to even and transformers down: the picture is then
    one pixel aside.

    Args:
        told: Content of ``preprocessor_config.json``.
        where: The file, for messages.

    Raises:
        NuwaError: If a step is switched off or sized in a way that timm's evaluation transform has not.
    """
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if told.get(step, True) is not True:
            raise NuwaError(f"{where} says {step} {checked.shown(told[step])}, and a base needs that step", hint=_HINT)
    factor = told.get("rescale_factor", _UNIT)
    if not isinstance(factor, int | float) or abs(factor - _UNIT) > 1e-6:
        raise NuwaError(f"{where} scales pixels by {checked.shown(factor)}, wanted 1/255", hint=_HINT)
    resample = told.get("resample", 2)
    if isinstance(resample, bool) or not isinstance(resample, int) or resample not in _RESAMPLING:
        raise NuwaError(f"{where} resamples by {checked.shown(resample)}, known: {sorted(_RESAMPLING)}", hint=_HINT)
    size, crop = told.get("size"), told.get("crop_size")
    scaled, is_short = _size(size, where)
    if told.get("do_center_crop", False):
        kept, _ = _size(crop, where)
        mode = "center" if is_short else "squash"
        if is_short and not isinstance(kept, int):
            raise NuwaError(
                f"{where} scales the short side and cuts out {size_words(kept)}, where timm scales either side",
                hint=_HINT,
            )
    elif is_short:
        raise NuwaError(f"{where} scales the short side and crops nothing, which gives no one size", hint=_HINT)
    else:
        kept, mode = scaled, "squash"
    config = {
        "mean": told.get("image_mean"),
        "std": told.get("image_std"),
        "interpolation": _RESAMPLING[resample],
        "crop_pct": _share_of(kept, scaled, where),
        "crop_mode": mode,
    }
    return kept, config


def _share(side: int, scaled: int) -> float:
    """Share of the scaled side that is kept, from which timm's ``floor(side / share)`` finds ``scaled`` again."""
    share = side / scaled
    return share if int(side / share) == scaled else math.nextafter(share, 0.0)


def _share_of(kept: ImgSize, scaled: ImgSize, where: str) -> float:
    """Share of both scaled sides that is kept.

    Raises:
        NuwaError: If it is another of each.
    """
    pairs = list(zip(sides_of(kept), sides_of(scaled), strict=True))
    share = _share(*pairs[0])
    if any(int(side / share) != whole for side, whole in pairs):
        raise NuwaError(
            f"{where} cuts {size_words(kept)} out of {size_words(scaled)}: another share of each side", hint=_HINT
        )
    return share


def _size(size: Any, where: str) -> tuple[ImgSize, bool]:
    """Size in pixels, and whether it is that of the short side alone."""
    if isinstance(size, Mapping):
        values, is_short = [size.get("shortest_edge")], True
        if size.get("height") is not None or size.get("width") is not None:
            values, is_short = [size.get("height"), size.get("width")], False
    else:
        values, is_short = [size], False
    whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= MAX_SIDE]
    if len(whole) < len(values):
        raise NuwaError(f"{where} gives the size {_shown(size)}, wanted whole pixels", hint=_HINT)
    return img_size_of(whole[0], whole[-1]), is_short


def _shown(size: Any) -> str:
    """Render a size for a message, cut short."""
    return repr(size)[:100] if isinstance(size, Mapping) and len(size) < 8 else checked.shown(size)
