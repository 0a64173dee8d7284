"""The values of the store contract."""

from nuwa_search.testing.store_values import (
    BASE,
    BLOCK,
    BOARD,
    EMULATED,
    NANO,
    NUM_WITH_TIES,
    OTHER_TASK,
    PROTOCOL,
    TASK,
    cut,
    filled_with_ties,
    measured,
    prediction,
    record_basics,
    subnet,
    top1,
)

__all__ = [
    "BASE",
    "BLOCK",
    "BOARD",
    "EMULATED",
    "NANO",
    "NUM_WITH_TIES",
    "OTHER_TASK",
    "PROTOCOL",
    "TASK",
    "cut",
    "filled_with_ties",
    "measured",
    "prediction",
    "record_basics",
    "subnet",
    "top1",
]
