"""The licence that a base's weights come under, as far as whoever made them says it."""

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.documents import read_text
from nuwa_search.core.errors import NuwaError

UNKNOWN = "unknown"
CARD = "README.md"
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_MAX_LENGTH = 100
"""Of a licence's name; what is longer is no name."""


@dataclass(frozen=True)
class Licence:
    """What a base comes under, and who says so.

    Args:
        name: As it is written there, such as ``apache-2.0``; ``unknown`` where nobody says.
        source: Where it is written; empty where unknown.
    """

    name: str = UNKNOWN
    source: str = ""

    @property
    def is_known(self) -> bool:
        return self.name != UNKNOWN


NO_LICENCE = Licence()


def licence_of_package(name: str) -> Licence:
    """Read the licence in the metadata of an installed package."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return NO_LICENCE
    told = metadata.json
    found = told.get("license_expression") or told.get("license")
    return _named(found, f"metadata of the package {name} {told.get('version')}")


def licence_of_config(config: Mapping[str, Any], *, source: str) -> Licence:
    """Read the licence in timm's ``pretrained_cfg``, or beside one."""
    return _named(config.get("license"), source)


def licence_of_folder(folder: Path, config: Mapping[str, Any]) -> Licence:
    """Read the licence of a base folder: of its config, else of the model card beside it."""
    inside = config.get("pretrained_cfg")
    for part in (inside if isinstance(inside, Mapping) else {}, config):
        found = licence_of_config(part, source="config.json of the base")
        if found.is_known:
            return found
    return licence_of_card(folder / CARD)


def licence_of_card(path: Path) -> Licence:
    """Read the ``license`` in the front matter of a model card of the Hugging Face Hub; ``license_name`` for other."""
    try:
        text = read_text(path, what="model card") if path.is_file() else ""
    except NuwaError:  # a card that cannot be read says nothing
        return NO_LICENCE
    matter = _FRONT_MATTER.match(text)
    told = dict(re.findall(r"^(license|license_name):[ \t]*(.+?)[ \t]*$", matter[1], re.MULTILINE)) if matter else {}
    name = told.get("license", "").strip("'\"")
    return _named(told.get("license_name", name).strip("'\"") if name == "other" else name, "model card of the base")


def _named(name: object, source: str) -> Licence:
    if not isinstance(name, str) or not name.strip() or len(name) > _MAX_LENGTH or "\n" in name.strip():
        return NO_LICENCE
    return Licence(name.strip(), source)
