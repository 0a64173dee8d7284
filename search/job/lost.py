"""Find the test images that a cut lost."""

from pathlib import Path

from torch import Tensor

from nuwa_search.core.dataset import local_root
from nuwa_search.core.images import ImageSet
from nuwa_search.search.lost_images import MAX_KEPT, LostImage, LostImages


def lost_images(images: ImageSet, base: Tensor, winner: Tensor, *, data: str) -> LostImages:
    """Compare two models' answers to the same images.

    Args:
        images: Of the test split, labels as of the task.
        base: (N, C) logits of the base with the task's head.
        winner: (N, C) logits of what is shipped.
        data: Where the images are from, as it was named.
    """
    labels = base.new_tensor(images.labels.tolist()).long()
    ours, theirs = winner.argmax(dim=1), base.argmax(dim=1)
    is_lost = (theirs == labels) & (ours != labels)
    num_won = int(((theirs != labels) & (ours == labels)).sum())
    sureness = winner.double().softmax(dim=1).max(dim=1).values
    found = sorted(is_lost.nonzero()[:, 0].tolist(), key=lambda i: (-float(sureness[i]), i))
    root, names = local_root(data), images.label_names
    kept = [
        LostImage(
            file=_file_below(images.encoded[i], root),
            hash=images.take([i]).hashes[0],
            label=names[int(labels[i])],
            base=names[int(theirs[i])],
            winner=names[int(ours[i])],
            confidence=float(sureness[i]),
        )
        for i in found[:MAX_KEPT]
    ]
    return LostImages(len(found), num_won, tuple(kept))


def _file_below(item: bytes | Path, root: Path | None) -> str | None:
    if not isinstance(item, Path) or root is None or not item.is_relative_to(root):
        return None
    return item.relative_to(root).as_posix()
