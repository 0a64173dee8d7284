"""Answers whose JSON is their fields: the one way from a frozen dataclass to a document."""

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, cast

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class JsonFields:
    """A dataclass whose JSON is its fields, by name and in their order.

    Dataclasses inside become objects too, tuples lists and paths text; numbers and texts stay as they are.
    """

    LEFT_OUT_AS_NONE: ClassVar[tuple[str, ...]] = ()
    """Fields that a document lacks where they are None; the others are then null."""

    def to_json(self) -> dict[str, Any]:
        """Render the document."""
        names = [field.name for field in dataclasses.fields(cast("DataclassInstance", self))]
        values = {name: getattr(self, name) for name in names}
        return {
            name: _plain(value)
            for name, value in values.items()
            if value is not None or name not in self.LEFT_OUT_AS_NONE
        }


def _plain(value: object) -> object:
    if isinstance(value, JsonFields):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, PurePath) else value
