"""Readers of pictures and of Parquet files with labelled images."""

import io
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.images import ImageSet, Preprocess, pixels
from tests.deploy.bundle_parts import png
from tests.support.fuzzing.mutations import mutated_bytes, mutated_json
from tests.support.fuzzing.reader import Mutate, Reader

SHOWN = Preprocess(8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
FORMATS = ("png", "jpeg", "gif", "bmp", "ppm", "tiff", "webp")
HUB = b"huggingface"
FEATURES = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}


def image_readers(folder: Path) -> list[Reader]:
    """Decode pictures of each format of an image folder."""
    values = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    readers = []
    for kind in FORMATS:
        path = folder / "cat" / f"one.{kind}"
        path.parent.mkdir(exist_ok=True)
        turn = Image.Exif()
        turn[0x0112] = 6
        options: dict[str, Any] = {"exif": turn} if kind in ("png", "jpeg", "tiff", "webp") else {}
        Image.fromarray(values).save(path, **options)
        one = ImageSet([path], np.zeros(1, dtype=np.int64), ("cat",), str(folder))
        readers.append(Reader(f"picture: {kind}", path, mutated_bytes, partial(pixels, one, SHOWN), share=0.6))
    return readers


def mask_readers(folder: Path) -> list[Reader]:
    """Read images with masks: a mask in each way of keeping ids, the image it is held against, and the class file."""
    ids = np.random.default_rng(0).integers(0, 3, (16, 20), dtype=np.uint8)
    for name in ("images", "masks"):
        (folder / "train" / name).mkdir(parents=True)
    Image.fromarray(np.zeros((16, 20, 3), np.uint8)).save(folder / "train" / "images" / "one.png")
    Image.fromarray(np.zeros((16, 20, 3), np.uint8)).save(folder / "train" / "images" / "two.png")
    Image.fromarray(ids).save(folder / "train" / "masks" / "one.png")
    palette = Image.frombytes("P", (20, 16), ids.tobytes())
    palette.putpalette(list(range(256)) * 3)
    palette.save(folder / "train" / "masks" / "two.png")
    (folder / "classes.txt").write_text("a\nb\nc\n")
    paths = ("train/masks/one.png", "train/masks/two.png", "train/images/one.png", "classes.txt")
    return [Reader(f"masks: {path}", folder / path, mutated_bytes, _labelling(folder), share=0.6) for path in paths]


def _labelling(folder: Path) -> Callable[[], None]:
    def load() -> None:
        masks = load_dataset(folder, task="segmentation").splits["train"].masks
        assert masks is not None
        for place in range(len(masks)):
            masks.label_map(place)

    return load


def parquet_readers(folder: Path) -> list[Reader]:
    """Read a Parquet file of images: its bytes, its columns, and what the Hub writes beside them."""
    encoded = [{"bytes": png(8, 8, seed=k), "path": None} for k in range(4)]
    table = pa.table({"image": encoded, "label": [0, 1, 0, 1]})
    readers = []
    ways: dict[str, Mutate] = {
        "bytes": mutated_bytes,
        "columns": _rewritten(_other_column),
        "the Hub's description": _rewritten(_other_description),
    }
    for what, mutate in ways.items():
        path = folder / f"{what.replace(' ', '-')}.parquet"
        path.write_bytes(_parquet_bytes(_described(table, json.dumps(FEATURES).encode())))
        readers.append(Reader(f"Parquet images: {what}", path, mutate, _loading(path)))
    return readers


def _loading(path: Path) -> Callable[[], None]:
    def load() -> None:
        for images in load_dataset(path).splits.values():
            pixels(images, SHOWN)

    return load


def _rewritten(change: Callable[[random.Random, pa.Table], pa.Table]) -> Mutate:
    def mutate(rng: random.Random, document: bytes) -> bytes:
        return _parquet_bytes(change(rng, pq.read_table(io.BytesIO(document))))

    return mutate


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _described(table: pa.Table, text: bytes) -> pa.Table:
    return table.replace_schema_metadata({HUB: text})


def _other_description(rng: random.Random, table: pa.Table) -> pa.Table:
    return _described(table, mutated_json(rng, json.dumps(FEATURES).encode()))


def _other_column(rng: random.Random, table: pa.Table) -> pa.Table:
    """Put other values, or values of another type, into one column, or call it otherwise."""
    picture = table["image"][0].as_py()["bytes"]
    odd: list[Any] = [
        *(
            [0.5] * 4,
            [float("nan")] * 4,
            [None] * 4,
            [True] * 4,
            [-1] * 4,
            [2**62] * 4,
            [["a"]] * 4,
            ["a", "b", "", "c"],
        ),
        *(
            [{"bytes": None, "path": "../outside.png"}] * 4,
            [{"bytes": None, "path": "a\0b"}] * 4,
            [{"path": 3}] * 4,
            [{"bytes": "text"}] * 4,
            [{"other": 1}] * 4,
        ),
        *([{"bytes": picture[: rng.randrange(len(picture))], "path": None}] * 4, ["x" * 5000] * 4, [0, 1, 10**9, 2]),
        *([{"bytes": b"", "path": None}] * 4, ["2024-01-01"] * 4, [0, None, 1, 0], ["é\u202e", "\n", " ", "a"]),
    ]
    name = rng.choice(("image", "label"))
    other = pa.array(rng.choice(odd))
    if rng.random() < 0.2:
        other = other.dictionary_encode() if pa.types.is_string(other.type) else other
    place = table.schema.get_field_index(name)
    called = name if rng.random() < 0.9 else rng.choice(("", "img", "fine_label", "é"))
    return table.set_column(place, called, other)
