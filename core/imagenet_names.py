"""What ImageNet's classes are called: WordNet ids, descriptions and lists of synonyms, as timm ships them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

ORDER_SHARE = 0.5
"""Share of names that must stand where ImageNet has them; a list in another order agrees nearly nowhere."""


@dataclass(frozen=True)
class Synset:
    """One class of ImageNet.

    Args:
        wordnet_id: Such as ``n01440764``; unique.
        lemmas: Its names, most usual first, such as ``tench, Tinca tinca``; ``crane`` and others stand twice.
        definition: Lemmas and meaning, such as ``tench, Tinca tinca: freshwater …``.
    """

    wordnet_id: str
    lemmas: str
    definition: str

    @property
    def short(self) -> str:
        """The most usual name; not unique."""
        return self.lemmas.split(",")[0]

    @property
    def words(self) -> tuple[str, ...]:
        """Everything that the class is called as a whole; later synonyms alone (``painter``) mean other things."""
        return self.wordnet_id, self.lemmas, self.short, self.definition


@lru_cache(maxsize=8)
def imagenet_classes(num_classes: int) -> tuple[Synset, ...] | None:
    """List the classes of the ImageNet subset that has so many, in the order of a head; None when none has."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": num_classes})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    ids = info.label_names()
    plain, detailed = info.label_descriptions(), info.label_descriptions(detailed=True)
    return tuple(Synset(*parts) for parts in zip(ids, plain, detailed, strict=True))


def imagenet_synsets(names: Sequence[str]) -> tuple[Synset, ...] | None:
    """Return what the classes of a list of names are in ImageNet; None unless it is ImageNet's, in its order."""
    if len(names) < 1000:  # the smallest subset; spares timm's import where no head can be ImageNet's
        return None
    return _synsets_of(tuple(names))


@lru_cache(maxsize=8)
def _synsets_of(names: tuple[str, ...]) -> tuple[Synset, ...] | None:
    classes = imagenet_classes(len(names))
    if classes is None:
        return None
    agree = sum(_is_called(name, synset) for name, synset in zip(names, classes, strict=True))
    return classes if agree > ORDER_SHARE * len(names) else None


def _is_called(name: str, synset: Synset) -> bool:
    plain = name.removesuffix(f" ({synset.wordnet_id})").replace("_", " ").casefold()
    return plain in {word.casefold() for word in synset.words} or plain.split(",")[0] == synset.short.casefold()
