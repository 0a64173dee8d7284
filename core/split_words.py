"""Which split a file or folder is, by its name."""

import re

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Word to split. A word counts as a whole token only: ``partial-train`` and ``train.0`` name one, ``trainer`` none."""

_WORD = re.compile(rf"({'|'.join(SPLIT_WORDS)})(\d*)(sets?|data|split)?(\d*)")
"""A token that is such a word, counted or with what it is a part of: ``train2017`` (COCO), ``testset``."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Where a token of ``cifarTrain`` begins."""

_NUMBERS = re.compile(r"(part|shard|chunk|split|file|batch|of|p|s)?\d*|[0-9a-f]{16}")
"""Tokens that count files: ``00001``, ``of``, ``part2``, and the hash that ends file names of older Hub data sets."""


def _tokens(name: str) -> list[str]:
    return [token for token in re.split(r"[^a-z0-9]+", _HUMP.sub(" ", name).casefold()) if token]


def _split_of(token: str) -> str | None:
    found = _WORD.fullmatch(token)
    return SPLIT_WORDS[found[1]] if found else None


def splits_named(name: str) -> frozenset[str]:
    """Return which of ``train``, ``val`` and ``test`` a name carries as a whole token: none, one or several."""
    return frozenset(split for token in _tokens(name) if (split := _split_of(token)) is not None)


def rest_of_name(name: str) -> tuple[str, ...]:
    """Return the tokens of a name that neither name a split nor count files, such as ``cifar10``."""
    return tuple(t for t in _tokens(name) if _split_of(t) is None and not _NUMBERS.fullmatch(t))


def hidden_splits(name: str) -> frozenset[str]:
    """Return which of ``train`` and ``test`` stand inside other words of a name (``mytrain``) that names no split.

    ``terrain`` and ``contest`` have them too, but two files of one folder, one with each, are hardly such words.
    """
    text = name.casefold()
    return frozenset(word for word in ("train", "test") if word in text) if not splits_named(name) else frozenset()
