"""Cut the package's data sample out of CIFAR-100's Parquet files.

Usage: python -m benchmarks.make_sample CIFAR100_DIR core/assets/sample
Keeps the five classes of the superclass ``vehicles_1``: all their training images (500 each, as
stored: WebP) and their test images. ``core/assets/sample/README.md`` is the data card.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CLASSES = (8, 13, 48, 58, 90)  # bicycle, bus, motorcycle, pickup_truck, train


def main(source: Path, target: Path) -> None:
    """Write ``train.parquet`` and ``test.parquet``; label names keep all 100 classes."""
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        table = pq.read_table(source / f"{split}.parquet")
        kept = table.filter(pc.is_in(table["fine_label"], pa.array(CLASSES)))
        pq.write_table(kept.drop_columns(["coarse_label"]), target / f"{split}.parquet", compression="zstd")
        print(f"{split}: {kept.num_rows} images")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
