"""Columns of a Parquet file as Python values, where what is repeated in the file takes its memory once."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

MAX_DICTIONARY_BYTES = 2**31 - 1
"""Arrow counts the bytes of a dictionary in 32 bits; a row group that is larger is read value by value."""


def reopened_for(parquet: pq.ParquetFile, file: Path, columns: tuple[str, ...]) -> pq.ParquetFile:
    """Open a file again so that bytes and texts of some columns come as a dictionary and indices into it.

    Writers keep each value of a column once and count which row holds which; a reader that unpacks them takes the
    memory of every row: two pictures repeated over 20 000 000 rows are 200 kB of a file and 2 TB unpacked.

    Args:
        parquet: The file, open.
        file: Its path.
        columns: Names at the top of its schema.
    """
    found = [parquet.schema.column(place) for place in range(len(parquet.schema.names))]
    leaves = [
        leaf.path
        for leaf in found
        if leaf.physical_type == "BYTE_ARRAY" and leaf.path.split(".")[0] in columns and leaf.max_repetition_level == 0
    ]
    is_small = all(
        parquet.metadata.row_group(group).column(place).total_uncompressed_size <= MAX_DICTIONARY_BYTES
        for group in range(parquet.metadata.num_row_groups)
        for place, leaf in enumerate(found)
        if leaf.path in leaves
    )
    if not leaves or not is_small:
        return parquet
    return pq.ParquetFile(file, metadata=parquet.metadata, read_dictionary=leaves)


def value_type(values: pa.Array | pa.ChunkedArray) -> pa.DataType:
    """Return the type of what a column holds, in a dictionary or not."""
    return values.type.value_type if pa.types.is_dictionary(values.type) else values.type


def shared_values(values: pa.Array) -> list[object]:
    """Turn a column into Python values; rows of one entry of a dictionary hold the same object."""
    if not pa.types.is_dictionary(values.type):
        listed: list[object] = values.to_pylist()
        return listed
    known: npt.NDArray[np.object_] = np.empty(len(values.dictionary) + 1, dtype=object)
    known[:-1] = values.dictionary.to_pylist()
    known[-1] = None  # where a row has no value
    places = values.indices.fill_null(len(values.dictionary)).to_numpy(zero_copy_only=False)
    shared: list[object] = known[places.astype(np.int64)].tolist()
    return shared
