"""Which split a file or folder is, by its name."""

import re

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Word to split. A word counts as a whole token only: ``partial-train`` and ``train.0`` name one, ``trainer`` none."""

_NUMBERS = re.compile(r"(part|shard|chunk|split|file|batch|of|p|s)?\d*|[0-9a-f]{16}")
"""Tokens that count files: ``00001``, ``of``, ``part2``, and the hash that ends file names of older Hub data sets."""


def _tokens(name: str) -> list[str]:
    return [token for token in re.split(r"[^a-z0-9]+", name.casefold()) if token]


def splits_named(name: str) -> frozenset[str]:
    """Say which of ``train``, ``val`` and ``test`` a name carries as a whole token: none, one or several."""
    return frozenset(SPLIT_WORDS[token] for token in _tokens(name) if token in SPLIT_WORDS)


def rest_of_name(name: str) -> tuple[str, ...]:
    """Return the tokens of a name that neither name a split nor count files, such as ``cifar10``."""
    return tuple(t for t in _tokens(name) if t not in SPLIT_WORDS and not _NUMBERS.fullmatch(t))
