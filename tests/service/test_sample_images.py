import numpy as np

from nuwa_search.core.images import ImageSet
from nuwa_search.deploy.ship import sample_images
from tests.deploy.bundle_parts import png


def names_of(*classes: str) -> list[str]:
    encoded = [png(8, 8, seed=k) for k in range(len(classes))]
    return [name for name, _ in sample_images(ImageSet(encoded, np.arange(len(classes)), classes, "here"))]


def test_samples_of_like_named_classes_are_files_of_their_own() -> None:
    assert names_of("bus", "van") == ["bus.png", "van.png"]
    found = names_of("a/b", "a b", "A_B", "\u8eca" * 200)
    assert len({name.casefold() for name in found}) == 4
    assert all("/" not in name and len(name.encode()) < 255 for name in found)
