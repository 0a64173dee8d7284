"""Images with masks in Parquet files: a column of each, as the Hugging Face image feature lays them out."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet
from nuwa_search.core.parquet_images import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    images_of_column,
    opened_parquet,
    picked_column,
)
from nuwa_search.core.tasks.class_choice import rarest_classes
from nuwa_search.core.tasks.class_file import read_class_file
from nuwa_search.core.tasks.masks import checked_masks

MASK_COLUMNS = ("mask", "annotation")


def has_masks(file: Path) -> bool:
    """Whether a Parquet file has a column of masks and none of labels, which would make it a task for whole images."""
    names = opened_parquet(file).schema_arrow.names
    return any(name in names for name in MASK_COLUMNS) and not any(name in names for name in LABEL_COLUMNS)


def read_mask_parquet(files: list[Path], mask_column: str | None) -> ImageSet:
    """Read files of one split; ``classes.txt`` beside the first names the ids.

    Raises:
        NuwaError: If a file is corrupt or has no such columns, or a mask does not fit its image or holds an id without
            a name.
    """
    images: list[bytes | Path] = []
    masks: list[bytes | Path] = []
    where: list[str] = []
    for file in files:
        schema = opened_parquet(file).schema_arrow
        picked = picked_column(file, schema, MASK_COLUMNS, mask_column, "mask")
        kind = schema.field(picked).type
        if not (pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise NuwaError(
                f"{file} column {picked!r} holds {kind}, wanted masks as encoded pictures",
                hint="name the column of masks with --label-column",
            )
        images += images_of_column(file, picked_column(file, schema, IMAGE_COLUMNS, None, "image"))
        found = images_of_column(file, picked)
        where += [f"{file} mask {place}" for place in range(len(found))]
        masks += found
    if not images:
        raise NuwaError(f"no images in {files[0].parent}", hint="give a file with a column of images and one of masks")
    names = read_class_file(files[0].parent)
    read = checked_masks(masks, images, class_names=names, names=where)
    origin = str(files[0] if len(files) == 1 else files[0].parent)
    return ImageSet(images, np.asarray(rarest_classes(read, len(names))), names, origin, read)
