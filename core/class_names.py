"""Class names as identities: found exactly, else folded where that leaves one, else refused."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.fold_name import fold
from nuwa_search.core.imagenet_names import Synset, imagenet_synsets
from nuwa_search.core.suggest import unknown_name

Places = Mapping[str, tuple[int, ...]]

_NUMBERED = re.compile(r"(?P<name>.+) \((?P<mark>\d+|n\d{8})\)")
"""What ``distinct_names`` makes of a name that stood twice."""

MAX_INDEX_DIGITS = 9
"""Of a class index written as text; no head has a thousand million outputs."""


@dataclass(frozen=True)
class NameIndex:
    """A list of class names, to find names in."""

    names: tuple[str, ...]

    def find(self, name: str) -> tuple[int, ...]:
        """Find the places that a name may mean: one, none (unknown), or several (ambiguous).

        An exact match hides folded ones, and a folded match hides synonyms: WordNet ids, descriptions and
        comma lists of an ImageNet head, and the bare name of classes that ``distinct_names`` told apart.
        """
        return self._exact.get(name) or self._folded.get(fold(name)) or self._synonyms.get(fold(name), ())

    def describe(self, places: Sequence[int]) -> str:
        """List places as ``134 (crane), 517 (crane)``."""
        return ", ".join(f"{k} ({self.names[k]})" for k in places)

    @cached_property
    def _exact(self) -> Places:
        return _places(enumerate(self.names), str)

    @cached_property
    def _folded(self) -> Places:
        return _places(enumerate(self.names), fold)

    @cached_property
    def _synonyms(self) -> Places:
        synsets = imagenet_synsets(self.names)
        pairs = [(k, word) for k, synset in enumerate(synsets or ()) for word in synset.words]
        for k, name in enumerate(self.names):
            found = _NUMBERED.fullmatch(name)
            if found and found["mark"] in (str(k), synsets[k].wordnet_id if synsets else ""):
                pairs.append((k, found["name"]))
        return _places(pairs, fold)


def _places(pairs: Iterable[tuple[int, str]], key: Callable[[str], str]) -> Places:
    out: dict[str, dict[int, None]] = {}
    for k, name in pairs:
        out.setdefault(key(name), {})[k] = None
    return {name: tuple(places) for name, places in out.items()}


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """Tell classes of one name apart by their WordNet ids in a list of ImageNet's, else by their indices.

    Raises:
        NuwaError: If that leaves two classes of one name.
    """
    counts = Counter(names)
    if len(counts) == len(names):
        return tuple(names)
    synsets: tuple[Synset, ...] | None = imagenet_synsets(tuple(names))
    out = tuple(
        name if counts[name] == 1 else f"{name} ({synsets[k].wordnet_id if synsets else k})"
        for k, name in enumerate(names)
    )
    if len(set(out)) < len(out):
        twice = next(name for name, count in Counter(out).items() if count > 1)
        raise NuwaError(f"two classes are called {twice!r}", hint="give every class a name of its own")
    return out


def checked_names(names: Any, *, where: str) -> tuple[str, ...]:
    """Read a list of class names from outside, and tell classes of one name apart.

    Args:
        names: A list of texts, or a mapping from output index (an integer, as number or text) to text.
        where: The file that holds them, for messages.

    Raises:
        NuwaError: If it is neither, an index is negative or stands twice, or a name is empty or has a line break.
    """
    hint = "write a list of names, one per class, or a mapping from class index to name"
    if isinstance(names, Mapping):
        names = _in_order(names, where, hint)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise NuwaError(f"class names of {where} are no list of texts", hint=hint)
    for name in names:
        if not name.strip() or "\n" in name or "\r" in name:
            raise NuwaError(f"class name {name!r} of {where} is empty or has a line break", hint="rename the class")
    return distinct_names(names)


def _in_order(names: Mapping[Any, Any], where: str, hint: str) -> list[Any]:
    place: dict[int, Any] = {}
    for key, name in names.items():
        text = str(key)
        if isinstance(key, bool) or not text.isdecimal() or len(text) > MAX_INDEX_DIGITS or int(text) in place:
            raise NuwaError(f"class names of {where} stand under {key!r}, wanted a class index", hint=hint)
        place[int(text)] = name
    if sorted(place) != list(range(len(place))):
        missing = next(k for k in range(len(place)) if k not in place)
        raise NuwaError(f"class names of {where} leave out class {missing}", hint=hint)
    return [place[k] for k in range(len(place))]


def resolve_classes(
    wanted: Sequence[str | int] | None, label_names: Sequence[str], *, least: int = 2
) -> tuple[int, ...]:
    """Find classes by name or by index; None means all.

    A name is matched exactly; where that finds nothing, case, spaces, ``-`` and ``_`` do not matter. Text is a
    name first and an index second; an ``int`` is always an index.

    Raises:
        NuwaError: If a class is unknown, ambiguous or named twice, or fewer than ``least`` are left.
    """
    if wanted is None:
        chosen = list(range(len(label_names)))
    else:
        index = NameIndex(tuple(label_names))
        chosen = [_resolve_one(name, index) for name in wanted]
    twice = sorted(label_names[k] for k, count in Counter(chosen).items() if count > 1)
    if twice:
        raise NuwaError(f"classes named twice: {', '.join(twice)}", hint="name each class once")
    if len(chosen) < least:
        raise NuwaError(
            f"a task needs at least two classes, found {len(chosen)}", hint="name more with --classes a,b,c"
        )
    return tuple(chosen)


def _resolve_one(name: str | int, index: NameIndex) -> int:
    found = index.find(name) if isinstance(name, str) else ()
    if len(found) == 1:
        return found[0]
    if found:
        raise NuwaError(
            f"class {name!r} is ambiguous: {index.describe(found)}",
            hint=f"give the index of the one meant: {' or '.join(map(str, found))}",
        )
    if isinstance(name, int) or name.isdecimal():
        if len(str(name)) <= MAX_INDEX_DIGITS and 0 <= int(name) < len(index.names):
            return int(name)
        raise NuwaError(
            f"class index {str(name)[:12]} is outside 0..{len(index.names) - 1}",
            hint="indices count from 0; names work as well",
        )
    raise unknown_name("class", name, index.names)


def match_labels(names: Sequence[str], outputs: Sequence[str]) -> tuple[int, ...] | None:
    """Find a model's output for each class name; None where it does not know them all, or two are one output.

    Raises:
        NuwaError: If it knows them all, but a name is ambiguous among its outputs.
    """
    index = NameIndex(tuple(outputs))
    found = [index.find(name) for name in names]
    if not all(found):
        return None
    for name, places in zip(names, found, strict=True):
        if len(places) > 1:
            marks = (_mark(index, k) for k in places)
            raise NuwaError(
                f"class {name!r} is ambiguous: the model knows it as outputs {index.describe(places)}",
                hint=f"call the class by the output meant: {' or '.join(marks)}",
            )
    first = tuple(places[0] for places in found)
    return first if len(set(first)) == len(first) else None


def _mark(index: NameIndex, place: int) -> str:
    """Say a name that finds just this place."""
    synsets = imagenet_synsets(index.names)
    return synsets[place].wordnet_id if synsets else repr(index.names[place])


def match_outputs(label_names: Sequence[str], chosen: Sequence[int], outputs: Sequence[str]) -> tuple[int, ...] | None:
    """Find a model's output for some classes of a data set; None where it does not know them all.

    Where the data set names the model's outputs one for one, in their order, a class is the output of its index,
    whatever names are ambiguous.

    Raises:
        NuwaError: As ``match_labels``.
    """
    if len(label_names) == len(outputs):
        index = NameIndex(tuple(outputs))
        if all(k in index.find(name) for k, name in enumerate(label_names)):
            return tuple(chosen)
    return match_labels([label_names[k] for k in chosen], outputs)
