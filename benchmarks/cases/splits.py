"""Which images are trained on, scored on and tested on."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.cases.frame import case, part


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value % 256, value // 256, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, values: range, labels: list[int] | None = None) -> None:
    """Write one picture per value, of classes cat and dog in turn."""
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    images = [{"bytes": png(value), "path": None} for value in values]
    table = pa.table({"image": images, "label": labels or [k % 2 for k in range(len(values))]})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)


def write_folder(folder: Path, values: range) -> None:
    folder.mkdir(parents=True)
    for value in values:
        (folder / f"{value}.png").write_bytes(png(value))


def splits_of(folder: Path) -> Any:
    found = part("core.dataset").load_dataset(folder)
    return found if isinstance(found, dict) else found.splits


def task_of(splits: Any, seed: int = 0) -> Any:
    task = part("core.task")
    if hasattr(task, "Division"):
        return task.make_task(splits, data="d", base_labels=(), division=task.Division(seed=seed))
    return task.make_task(splits, data="d", base_labels=(), seed=seed)


def leaks(folder: Path, train: str, test: str) -> str:
    """Write 40 images to train on and 20 to test on, and count those of the 20 that are trained or scored on."""
    write_parquet(folder / f"{train}.parquet", range(40))
    write_parquet(folder / f"{test}.parquet", range(40, 60))
    task = task_of(splits_of(folder))
    return used_of_tests(task)


def used_of_tests(task: Any) -> str:
    tests = {hash_of(png(value)) for value in range(40, 60)}
    return f"{len({*task.train.hashes, *task.search.hashes} & tests)} of 20 test images trained or scored on"


def hash_of(data: bytes) -> str:
    images = part("core.images").ImageSet([data], np.zeros(1, dtype=np.int64), ("x",), "here")
    return str(images.hashes[0])


NONE = "0 of 20 test images trained or scored on"


@case("splits: cifar_train.parquet and cifar_test.parquet", right=NONE)
def prefixed(folder: Path) -> str:
    return leaks(folder, "cifar_train", "cifar_test")


@case("splits: cifar-train.parquet and cifar-test.parquet", right=NONE)
def dashed(folder: Path) -> str:
    return leaks(folder, "cifar-train", "cifar-test")


@case("splits: train_0.parquet and test_0.parquet", right=NONE)
def numbered(folder: Path) -> str:
    return leaks(folder, "train_0", "test_0")


@case("splits: train.0.parquet and test.0.parquet", right=NONE)
def dotted(folder: Path) -> str:
    return leaks(folder, "train.0", "test.0")


@case("splits: partial-train/0000.parquet and partial-test/0000.parquet", right=NONE)
def partial(folder: Path) -> str:
    return leaks(folder, "partial-train/0000", "partial-test/0000")


@case("splits: train-00000-of-00001.parquet of the Hub, with a test file", right=NONE)
def hub(folder: Path) -> str:
    return leaks(folder, "train-00000-of-00001", "test-00000-of-00001")


@case("splits: birdsTrain.parquet and birdsTest.parquet", right=NONE)
def humped(folder: Path) -> str:
    return leaks(folder, "birdsTrain", "birdsTest")


@case("splits: mytrain.parquet and mytest.parquet", right="refused")
def hidden(folder: Path) -> str:
    return leaks(folder, "mytrain", "mytest")


@case("splits: train2017/CLASS and val2017/CLASS, as COCO calls them", right=NONE)
def counted(folder: Path) -> str:
    for start, split in ((0, "train2017"), (40, "val2017")):
        for k, name in enumerate(("cat", "dog")):
            write_folder(folder / split / name, range(start + 10 * k, start + 10 * k + 10))
    return used_of_tests(task_of(splits_of(folder)))


@case("splits: 5 of 10 test pictures saved anew, as BMP, in the training folder", right="0 of 10 trained or scored on")
def saved_anew(folder: Path) -> str:
    for start, split in ((0, "train"), (40, "test")):
        for k, name in enumerate(("cat", "dog")):
            write_folder(folder / split / name, range(start + 5 * k, start + 5 * k + 5))
    for value in range(40, 45):
        Image.open(io.BytesIO(png(value))).save(folder / "train" / "dog" / f"{value}.bmp")
    images, tensors = part("core.images"), part("core.tensors")
    task = task_of(splits_of(folder))
    preprocess = images.Preprocess(img_size=8)
    found = tensors.task_tensors(task, preprocess)
    used = {one.tobytes() for split in (found.train, found.search) for one in split.images.numpy()}
    tests = images.pixels(task.test, preprocess)
    return f"{sum(one.tobytes() in used for one in tests)} of {len(tests)} trained or scored on"


@case("splits: pictures called .jpg and .jfif in one folder, of each class ten", right="20 of cat, 20 of dog")
def endings(folder: Path) -> str:
    for k, name in enumerate(("cat", "dog")):
        write_folder(folder / name, range(20 * k, 20 * k + 20))
        for path in sorted((folder / name).iterdir())[:10]:
            path.rename(path.with_suffix(".jfif"))
    (images,) = splits_of(folder).values()
    return ", ".join(f"{n} of {name}" for name, n in zip(images.label_names, images.counts(), strict=True))


@case("splits: 12 of 20 test images in the training file as well", right=NONE)
def copies(folder: Path) -> str:
    write_parquet(folder / "train.parquet", range(52))
    write_parquet(folder / "test.parquet", range(40, 60))
    task = task_of(splits_of(folder))
    return used_of_tests(task)


@case("splits: two copies of each image in one folder", right="0 test images trained or scored on")
def doubles(folder: Path) -> str:
    for name in ("cat", "dog"):
        write_folder(folder / name, range(20) if name == "cat" else range(20, 40))
        for path in list((folder / name).iterdir()):
            (folder / name / f"copy of {path.name}").write_bytes(path.read_bytes())
    task = task_of(splits_of(folder))
    used = {*task.train.hashes, *task.search.hashes} & set(task.test.hashes)
    return f"{len(used)} test images trained or scored on"


@case("splits: test images of seed 0 that seed 1 trains or scores on", right="0 of 8")
def seeds(folder: Path) -> str:
    write_parquet(folder / "all.parquet", range(40))
    one, two = (task_of(splits_of(folder / "all.parquet"), seed) for seed in (0, 1))
    return f"{len({*two.train.hashes, *two.search.hashes} & set(one.test.hashes))} of {len(one.test)}"


@case("splits: two configurations in one folder, plain/ and hard/", right="refused")
def configurations(folder: Path) -> str:
    for start, name in enumerate(("plain", "hard")):
        write_parquet(folder / name / "train.parquet", range(start * 20, start * 20 + 20))
        write_parquet(folder / name / "test.parquet", range(100 + start * 9, 109 + start * 9))
    return f"merged to {len(splits_of(folder)['train'])} training images"


@case("splits: classes bus, train and van, a folder of images each", right="bus train van")
def train_class(folder: Path) -> str:
    for k, name in enumerate(("bus", "train", "van")):
        write_folder(folder / name, range(10 * k, 10 * k + 10))
    found = splits_of(folder)
    return " ".join(next(iter(found.values())).label_names)


@case("splits: folders train and test that hold images and no classes", right="refused")
def flat(folder: Path) -> str:
    write_folder(folder / "train", range(10))
    write_folder(folder / "test", range(10, 15))
    return str({name: images.label_names for name, images in splits_of(folder).items()})


@case("splits: a test file whose labels are all -1 (kept secret)", right="train")
def secret(folder: Path) -> str:
    write_parquet(folder / "train.parquet", range(20))
    write_parquet(folder / "test.parquet", range(20, 26), [-1] * 6)
    return " ".join(splits_of(folder))


@case("splits: an empty class folder beside two others", right="cat dog")
def empty(folder: Path) -> str:
    write_folder(folder / "cat", range(10))
    write_folder(folder / "dog", range(10, 20))
    (folder / "owl").mkdir()
    return " ".join(task_of(splits_of(folder)).class_names)


@case("splits: a label of 1 000 000 000 without class names", right="refused")
def large_label(folder: Path) -> str:
    """Ask in a process whose memory is bounded to 8 GB."""
    pq.write_table(
        pa.table({"image": [{"bytes": png(0), "path": None}] * 2, "label": [0, 10**9]}), folder / "a.parquet"
    )
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from benchmarks.cases.frame import part\n"
        "load = part('core.dataset').load_dataset; refusal = part('core.errors').NuwaError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "try: load(Path(sys.argv[1])); print('accepted')\n"
        "except refusal as error: print('refused:', error)\n"
        "except MemoryError: print('more than 8 GB of memory')"
    )
    line = [sys.executable, "-c", code, str(folder / "a.parquet")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.splitlines()[-1]
