"""Frozen dataclasses from plain JSON values, checked field by field against their annotations."""

import dataclasses
import types
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from nuwa_search.core import checked
from nuwa_search.core.errors import NuwaError

Record = TypeVar("Record")


def record_from_dict(kind: type[Record], values: object, *, where: str) -> Record:
    """Build a dataclass from an object with one entry per field.

    Fields may be numbers, truth values, texts, ``Literal`` words, tuples, mappings of texts, other
    dataclasses, any of these or None, and a plain value or a tuple. Numbers keep the type they were written in, so
    that hashes over them stay.

    Args:
        kind: The dataclass.
        values: What was found; entries with a default may be missing.
        where: What it is, for messages.

    Raises:
        NuwaError: If a field is missing, unknown, of another type or no finite number, or the dataclass itself
            refuses its values.
    """
    found = checked.mapping(values, where)
    plan = _plan(cast(Hashable, kind))
    unknown = sorted(found.keys() - plan.keys())
    if unknown:
        raise NuwaError(f"{where} holds an unknown field {checked.shown(unknown[0])}, known: {', '.join(plan)}")
    given: dict[str, Any] = {}
    for name, (annotation, is_needed) in plan.items():
        if name in found:
            given[name] = _value(annotation, found[name], f"{where}: {name}")
        elif is_needed:
            raise NuwaError(f"{where} lacks {name!r}")
    return kind(**given)


@cache
def _plan(kind: type[Any]) -> dict[str, tuple[Any, bool]]:
    hints = get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        field.name: (hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
        if field.init
    }


def _value(annotation: Any, value: object, name: str) -> Any:
    if annotation is int:
        return checked.integer(value, name)
    if annotation is float:
        checked.finite(value, name)
        return value
    if annotation is str:
        return checked.text(value, name)
    if annotation is bool:
        return checked.boolean(value, name)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return record_from_dict(annotation, value, where=name)
    return _composed(annotation, value, name)


def _composed(annotation: Any, value: object, name: str) -> Any:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return checked.one_of(value, name, inner)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in inner if kind is not type(None)]
        if value is None and len(kinds) < len(inner):
            return None
        # of a number and a tuple, the value says which it is: a size may be one side, or two
        kind = next((k for k in kinds if (get_origin(k) is tuple) == isinstance(value, list | tuple)), kinds[0])
        if len(kinds) == 1 or all(get_origin(k) in (None, tuple) for k in kinds):
            return _value(kind, value, name)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_value(inner[0], v, f"{name}[{i}]") for i, v in enumerate(checked.items(value, name)))
        found = checked.items(value, name, min_items=len(inner), max_items=len(inner))
        return tuple(_value(kind, v, f"{name}[{i}]") for i, (kind, v) in enumerate(zip(inner, found, strict=True)))
    if isinstance(origin, type) and issubclass(origin, Mapping) and inner and inner[0] is str:
        entries = checked.mapping(value, name)
        return {
            checked.text(key, name): v if inner[1] in (Any, object) else _value(inner[1], v, f"{name}.{key}")
            for key, v in entries.items()
        }
    raise TypeError(f"a record cannot read {annotation!r} ({name})")
