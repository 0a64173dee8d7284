"""Make a base folder of the plain ViT inside an ONNX export."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from timm.models import save_for_hf

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_onnx import vit_from_onnx
from nuwa_search.core.img_size import ImgSize, json_from_img_size, sides_of
from nuwa_search.core.vit_at_size import vit_at_size
from nuwa_search.core.whole_folder import whole_folder
from nuwa_search.deploy.train.to_timm import timm_args, timm_from_plain

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of timm's ``IMAGENET_DEFAULT_MEAN`` and ``_STD``: what most ViTs were trained with; a graph does not tell."""


@dataclass(frozen=True)
class ImportedBase:
    """What was written, and how well it agrees.

    Args:
        dir: The base folder, in timm's hub format, FP32.
        img_size: Of its images in pixels.
        params: Parameters, the stand-in head left out.
        relative_error: Of features after the last norm against the graph on ONNX Runtime, at the graph's size and
            with its own positions.
        resampled_cosine: Mean cosine of these features where positions are resampled from the stored grid instead;
            None where the graph resamples nothing.
        num_left_out: Named tensors of the graph that belong to no ViT, such as a decoder's.
    """

    dir: Path
    img_size: ImgSize
    params: int
    relative_error: float
    resampled_cosine: float | None
    num_left_out: int


def import_onnx_base(
    path: Path,
    folder: Path,
    *,
    img_size: ImgSize | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> ImportedBase:
    """Write the plain ViT inside an ONNX file as a base without a head.

    Args:
        path: The graph.
        folder: Where the base goes: ``config.json`` and ``model.safetensors``; must be new or empty.
        img_size: Of the images the base shall take, multiples of its patch; None for the graph's. Positions
            are resampled from the grid that the graph stores.
        mean: Per channel, of images scaled to 0..1.
        std: Likewise.

    Raises:
        NuwaError: If the file holds no plain ViT, the size does not fit, or the folder is taken.
        NoAnswerError: If the ViT found does not agree with the graph.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NuwaError(f"{folder} exists and is not empty", hint="choose another folder with -o")
    found = vit_from_onnx(path)
    size = found.graph_size if img_size is None else img_size
    vit = vit_at_size(found.model, size, name=str(path))
    with whole_folder(folder) as fresh:
        save_for_hf(
            timm_from_plain(vit, num_classes=0),
            fresh,
            model_args={**timm_args(vit.arch), "num_classes": 0},
            safe_serialization=True,
            data_config={
                "input_size": (3, *sides_of(size)),
                "mean": mean,
                "std": std,
                "interpolation": "bicubic",
                "crop_pct": 1.0,
            },
        )
    params = sum(value.numel() for name, value in vit.state_dict().items() if not name.startswith("head."))
    is_resampled = found.model.arch.img_size != found.graph_size
    return ImportedBase(
        dir=folder,
        img_size=size,
        params=params,
        relative_error=found.relative_error,
        resampled_cosine=found.resampled_cosine if is_resampled else None,
        num_left_out=found.num_left_out,
    )


def dict_from_imported(imported: ImportedBase) -> dict[str, str | int | float | list[int] | None]:
    """Turn the answer into plain JSON values."""
    return {**dataclasses.asdict(imported), "dir": str(imported.dir), "img_size": json_from_img_size(imported.img_size)}
