"""All readers of files and requests from outside, by group."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.fuzzing.of_bases import base_readers, transformers_readers, weight_readers
from tests.support.fuzzing.of_boards import board_readers, table_readers
from tests.support.fuzzing.of_bundles import bundle_readers, program_readers
from tests.support.fuzzing.of_collaborations import collaboration_readers
from tests.support.fuzzing.of_graphs import graph_readers
from tests.support.fuzzing.of_images import image_readers, mask_readers, parquet_readers
from tests.support.fuzzing.of_requests import request_readers
from tests.support.fuzzing.of_store import store_readers
from tests.support.fuzzing.reader import Reader

GROUPS: dict[str, Callable[[Path], list[Reader]]] = {
    "bundles": bundle_readers,
    "programs": program_readers,
    "boards": board_readers,
    "tables": table_readers,
    "bases": base_readers,
    "transformers": transformers_readers,
    "weights": weight_readers,
    "images": image_readers,
    "masks": mask_readers,
    "parquet": parquet_readers,
    "requests": request_readers,
    "graphs": graph_readers,
    "stores": store_readers,
    "collaborations": collaboration_readers,
}


def make_readers(folder: Path) -> Iterator[Reader]:
    """Write valid documents below ``folder``, and name the readers of them."""
    for name, make in GROUPS.items():
        (folder / name).mkdir(parents=True)
        yield from make(folder / name)
