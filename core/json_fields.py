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

    LEFT_OUT: ClassVar[tuple[str, ...]] = ()
    """Fields that a document lacks where they are at their defaults."""
    MERGED: ClassVar[tuple[str, ...]] = ()
    """Fields whose own fields stand in the document in their place."""

    def to_json(self) -> dict[str, Any]:
        """Render the document."""
        document: dict[str, Any] = {}
        for field in dataclasses.fields(cast("DataclassInstance", self)):
            value = getattr(self, field.name)
            if field.name in self.MERGED:
                document |= cast("dict[str, Any]", _plain(value))
            elif field.name not in self.LEFT_OUT or value != field.default:
                document[field.name] = _plain(value)
        return document


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
