"""The small archs of the runtime contract."""

from nuwa_search.testing.families import (
    FAMILIES,
    lively_model,
)

__all__ = [
    "FAMILIES",
    "lively_model",
]
