"""Images with masks: folders, Parquet files, classes, and what is refused."""

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet
from nuwa_search.core.task import make_task
from nuwa_search.core.tasks.masks import IGNORED, LabelMap, Masks
from tests.support.toy_masks import CLASSES, write_masks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masks(tmp_path_factory.mktemp("masks"), num_train=15, num_test=6)


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def masks_of(images: ImageSet) -> Masks:
    assert images.masks is not None
    return images.masks


def test_a_folder_is_recognised_and_divided_with_its_masks(folder: Path) -> None:
    splits = load_dataset(folder).splits
    task = make_task(splits, data="toy", base_labels=CLASSES)
    assert task.kind == "segmentation"
    assert task.base_classes is None
    assert (len(task.train), len(task.search), len(task.test)) == (12, 3, 6)
    assert task.search.counts().tolist() == [1, 1, 1], "each class is rarest in a fifth of the search images"
    for images in (task.train, task.search, task.test):
        for place, path in enumerate(images.encoded):
            wanted = np.asarray(Image.open(str(path).replace("images", "masks")))
            assert np.array_equal(masks_of(images).label_map(place), wanted)


def test_classes_that_are_not_named_become_background(folder: Path) -> None:
    splits = load_dataset(folder).splits
    task = make_task(splits, data="toy", base_labels=(), classes=("stripe",))
    assert task.class_names == ("background", "stripe")
    whole = masks_of(make_task(splits, data="toy", base_labels=()).test).class_pixels(3)
    assert np.array_equal(masks_of(task.test).class_pixels(2), np.stack([whole[:, 0] + whole[:, 1], whole[:, 2]], 1))
    assert task.task_id != make_task(splits, data="toy", base_labels=(), classes=("square",)).task_id


def test_a_background_is_added_where_none_is_named(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path / "data")
    (other / "classes.txt").write_text("sky\nsquare\nstripe\n")
    task = make_task(load_dataset(other).splits, data="toy", base_labels=(), classes=("stripe", "square"))
    assert task.class_names == ("background", "stripe", "square")
    assert set(np.unique(masks_of(task.test).label_map(1))) == {0, 2}, "sky is background, the square is class 2"


def test_a_palette_is_read_by_its_indices_and_255_is_ignored(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path / "data")
    path = other / "test" / "masks" / "1.png"
    ids = np.asarray(Image.open(path)).copy()
    ids[0, :3] = IGNORED
    palette = Image.frombytes("P", (ids.shape[1], ids.shape[0]), ids.tobytes())
    palette.putpalette([255 - k // 3 for k in range(768)])
    palette.save(path)
    test = load_dataset(other).splits["test"]
    place = [Path(str(item)).name for item in test.encoded].index("1.png")
    assert np.array_equal(masks_of(test).label_map(place), ids)
    assert masks_of(test).class_pixels(3)[place].sum() == ids.size - 3


@pytest.mark.parametrize("bits", [2, 4])
def test_greys_of_few_bits_are_ids_as_they_are(folder: Path, tmp_path: Path, bits: int) -> None:
    """Pillow spreads them over 0..255; an id of all ones would be taken for pixels that are ignored."""
    other = copied(folder, tmp_path / "data")
    names = [*CLASSES, *(f"more {k}" for k in range(2**bits - len(CLASSES)))]
    (other / "classes.txt").write_text("\n".join(names))
    path = other / "test" / "masks" / "1.png"
    ids = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 2**bits
    write_few_bits(path, ids, bits=bits)
    test = load_dataset(other).splits["test"]
    place = [Path(str(item)).name for item in test.encoded].index("1.png")
    assert np.array_equal(masks_of(test).label_map(place), ids)


def write_few_bits(path: Path, ids: LabelMap, *, bits: int) -> None:
    """Write a grey PNG of 2 or 4 bits, as optimisers of PNG files do and Pillow does not."""
    shifts = range(8 - bits, -1, -bits)
    packed = sum(ids[:, k :: len(shifts)].astype(np.int64) << shift for k, shift in enumerate(shifts))
    rows = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in np.asarray(packed))
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    told = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(told))


def test_capitals_of_the_folders_do_not_matter(folder: Path, tmp_path: Path) -> None:
    wanted = load_dataset(folder).splits["train"].content_hash
    other = copied(folder, tmp_path / "data")
    for name in ("images", "masks"):
        (other / "train" / name).rename(other / "train" / name.capitalize())
    assert load_dataset(other).splits["train"].content_hash == wanted


def test_what_is_left_out_is_said(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path / "data")
    (other / "train" / "images" / "new.heic").write_bytes(b"not read")
    assert load_dataset(other).notes == (
        f"files in {other / 'train' / 'images'} that are no pictures by their ending are left out: 1 .heic",
    )
    (other / "train" / "masks").rename(other / "train" / "labels")
    found = load_dataset(other)
    with pytest.raises(NuwaError, match="wanted train") as refused:
        make_task(found.splits, data="toy", base_labels=(), notes=found.notes)
    assert f"{other / 'train'} holds no images beside masks" in refused.value.hint


def test_parquet_files_say_the_same_as_the_folder(folder: Path, tmp_path: Path) -> None:
    wanted = load_dataset(folder).splits["test"]
    rows = {
        "image": [{"bytes": Path(str(item)).read_bytes(), "path": None} for item in wanted.encoded],
        "mask": [{"bytes": Path(str(item)).read_bytes(), "path": None} for item in masks_of(wanted).encoded],
    }
    pq.write_table(pa.table(rows), tmp_path / "test.parquet")
    (tmp_path / "classes.txt").write_text((folder / "classes.txt").read_text())
    found = load_dataset(tmp_path).splits["test"]
    assert found.content_hash == wanted.content_hash


def _resize(path: Path) -> None:
    Image.open(path).resize((8, 8)).save(path)


def _unnamed(path: Path) -> None:
    Image.fromarray(np.full((24, 32), 7, np.uint8)).save(path)


def _coloured(path: Path) -> None:
    Image.open(path).convert("RGB").save(path)


def _of_greys(path: Path) -> None:
    """Stripes of class 2, written as optimisers and GIF writers do: index 1, shown as grey 2."""
    ids = np.zeros((24, 32), np.uint8)
    ids[:, 8:16] = 1
    palette = Image.frombytes("P", (32, 24), ids.tobytes())
    palette.putpalette([0, 0, 0, 2, 2, 2])
    palette.save(path)


def _blurred(path: Path) -> None:
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_resize, "is a mask of 8 x 8 pixels, and its image has 32 x 24"),
        (_unnamed, "holds id 7, and there are names for 0..2"),
        (_coloured, "is no mask of class ids: its mode is RGB"),
        (_of_greys, "has a palette of greys, in which index 1 is shown as 2, and both are ids"),
        (Path.unlink, "is missing: wanted"),
        (_blurred, "is missing: wanted"),
        (lambda path: path.write_bytes(b"\x89PNG"), "is not a readable mask: cannot identify image file$"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(folder: Path, tmp_path: Path, spoil: object, said: str) -> None:
    other = copied(folder, tmp_path / "data")
    path = other / "train" / "masks" / "4.png"
    assert callable(spoil)
    spoil(path)
    with pytest.raises(NuwaError, match=said) as refused:
        load_dataset(other)
    assert str(path) in refused.value.message


def test_two_folders_without_class_file_are_read_as_told(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path / "data")
    (other / "classes.txt").unlink()
    with pytest.raises(NuwaError, match="can be read in two ways"):
        load_dataset(other)
    assert load_dataset(other, task="classification").splits["test"].label_names == ("images", "masks")
    with pytest.raises(NuwaError, match=r"no classes\.txt names their ids"):
        load_dataset(other, task="segmentation")


def test_masks_that_say_nothing_are_refused(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path / "data")
    for path in (other / "train" / "masks").iterdir():
        Image.fromarray(np.full((24, 32), IGNORED, np.uint8)).save(path)
    with pytest.raises(NuwaError, match="every pixel of the masks of the training images of toy is 255"):
        make_task(load_dataset(other).splits, data="toy", base_labels=())


def test_a_class_without_a_pixel_to_train_on_is_said_and_one_alone_refused(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path / "data")

    def change(ids: LabelMap) -> None:
        for path in (other / "train" / "masks").iterdir():
            Image.fromarray(ids[np.asarray(Image.open(path))]).save(path)

    change(np.array([0, 1, 0], np.uint8))
    task = make_task(load_dataset(other).splits, data="toy", base_labels=())
    assert task.notes == ("classes of toy without a pixel to train on: stripe",)
    change(np.array([0, IGNORED], np.uint8))
    with pytest.raises(NuwaError, match="hold pixels of 'background' alone") as refused:
        make_task(load_dataset(other).splits, data="toy", base_labels=())
    assert refused.value.hint.startswith("255 is no class")
