import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.decode_image import decode_image
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess, pixels


def png(value: int, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(folder: Path, classes: dict[str, int]) -> None:
    for k, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.png").write_bytes(png(10 * k + i))


def write_parquet(path: Path, labels: list[int] | list[str], names: list[str] | None = None) -> None:
    images = [{"bytes": png(i), "path": None} for i in range(len(labels))]
    table = pa.table({"image": images, "label": labels})
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_image_folder_with_splits(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 3, "dog": 2})
    write_folder(tmp_path / "val", {"cat": 1, "dog": 1})
    splits = load_dataset(tmp_path).splits
    assert {k: v.counts().tolist() for k, v in splits.items()} == {"train": [3, 2], "val": [1, 1]}
    assert splits["train"].label_names == ("cat", "dog")


def test_image_folder_without_splits_is_one(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 3, "dog": 2})
    splits = load_dataset(tmp_path).splits
    assert list(splits) == ["all"]
    decoded = pixels(splits["all"], Preprocess(img_size=8))
    assert decoded.shape == (5, 3, 8, 8)
    assert decoded[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11]


def test_repeated_pictures_and_texts_of_a_parquet_file_take_their_memory_once(tmp_path: Path) -> None:
    contents = [np.random.default_rng(k).bytes(1_000_000) for k in range(2)]
    rows = 500  # a gigabyte, were every row unpacked
    images = [{"bytes": contents[k % 2], "path": None} for k in range(rows)]
    labels = pa.array(["a" * 1000 if k % 2 else "b" for k in range(rows)]).dictionary_encode()  # as pandas' categories
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "twice.parquet", row_group_size=200)
    assert (tmp_path / "twice.parquet").stat().st_size < 10_000_000
    found = load_dataset(tmp_path / "twice.parquet").splits["all"]
    assert list(found.encoded) == [contents[k % 2] for k in range(rows)]
    assert len({id(item) for item in found.encoded}) == 2 * 3  # row groups
    assert found.labels.tolist() == [0 if k % 2 else 1 for k in range(rows)]
    written = [{"bytes": None, "path": "a/b.png"}, None]
    pq.write_table(pa.table({"image": written, "label": [0, 1]}), tmp_path / "none.parquet")
    with pytest.raises(NuwaError, match="image 1 holds neither"):
        load_dataset(tmp_path / "none.parquet")


def test_splits_with_different_classes_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 1, "dog": 1})
    write_folder(tmp_path / "test", {"cat": 1, "cow": 1})
    with pytest.raises(NuwaError, match="different classes"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("layout", ["train.parquet", "train-00000-of-00001.parquet", "data/train/0.parquet"])
def test_parquet_in_the_hub_layout(tmp_path: Path, layout: str) -> None:
    write_parquet(tmp_path / layout, [1, 0, 1], ["cat", "dog"])
    images = load_dataset(tmp_path).splits["train"]
    assert images.label_names == ("cat", "dog")
    assert images.labels.tolist() == [1, 0, 1]


def test_parquet_with_class_names_as_text(tmp_path: Path) -> None:
    write_parquet(tmp_path / "all.parquet", ["dog", "cat", "dog"])
    images = load_dataset(tmp_path / "all.parquet").splits["all"]
    assert [images.label_names[k] for k in images.labels] == ["dog", "cat", "dog"]


def test_shards_with_text_labels_share_their_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-00000-of-00002.parquet", ["cat", "dog"])
    write_parquet(tmp_path / "train-00001-of-00002.parquet", ["bird", "cat"])
    images = load_dataset(tmp_path).splits["train"]
    assert [images.label_names[k] for k in images.labels] == ["cat", "dog", "bird", "cat"]


def test_shards_with_bare_numbers_share_their_classes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", [0, 2])
    write_parquet(tmp_path / "train-1.parquet", [1, 0])
    images = load_dataset(tmp_path).splits["train"]
    assert (images.labels.tolist(), images.label_names) == ([0, 2, 1, 0], ("0", "1", "2"))


def test_shards_that_name_other_classes_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", [0, 1], ["cat", "dog"])
    write_parquet(tmp_path / "train-1.parquet", [0, 1], ["dog", "cat"])
    with pytest.raises(NuwaError, match="names other classes"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "garbage"])
def test_corrupt_parquet_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "train.parquet"
    write_parquet(path, [0, 1], ["a", "b"])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "truncate" else b"not parquet")
    with pytest.raises(NuwaError, match=r"train\.parquet cannot be read"):
        load_dataset(path)


def test_corrupt_image_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 2, "dog": 1})
    (tmp_path / "cat" / "1.png").write_bytes(b"no image")
    with pytest.raises(NuwaError, match=r"cat/1\.png is not a readable image"):
        pixels(load_dataset(tmp_path).splits["all"], Preprocess(img_size=8))


def test_only_pictures_of_pixels_are_decoded() -> None:
    """Pillow would hand a PostScript file to another program."""
    with pytest.raises(ValueError, match="no format that is decoded here"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize("kept", [b"{", b'{"info": NaN}', b'{"info": {"features": {"label": {"names": [1, 2]}}}}'])
def test_class_names_that_the_hub_kept_are_read_or_refused(kept: bytes, tmp_path: Path) -> None:
    """Not left out without a word, with numbers in their place."""
    table = pa.table({"image": [{"bytes": png(0), "path": None}] * 2, "label": [0, 1]})
    pq.write_table(table.replace_schema_metadata({"huggingface": kept}), tmp_path / "a.parquet")
    with pytest.raises(NuwaError, match=r"description inside|no list of texts"):
        load_dataset(tmp_path / "a.parquet")


def test_unknown_label_column_suggests(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [0, 1], ["a", "b"])
    with pytest.raises(NuwaError) as caught:
        load_dataset(tmp_path / "a.parquet", label_column="labels")
    assert "did you mean 'label'" in caught.value.hint


@pytest.mark.parametrize("source", ["./nothing", "/no/such/place", "~/nothing-here"])
def test_missing_path_is_never_looked_up_on_the_hub(source: str) -> None:
    with pytest.raises(NuwaError, match="no data at"):
        load_dataset(source)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NuwaError, match="no images"):
        load_dataset(tmp_path)


def test_resize_keeps_the_aspect_and_cuts_the_centre() -> None:
    values = np.zeros((10, 30, 3), dtype=np.uint8)
    values[:, 10:20] = 200
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    with Image.open(buffer) as image:
        from nuwa_search.core.images import crop

        assert (crop(image, Preprocess(img_size=10, interpolation="nearest")) == 200).all()
