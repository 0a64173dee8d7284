"""What of a dataclass goes into an id: the fields it first had, and later ones only where they say something.

A field that is added to an ``Arch`` or to the options of a derivation stays out of ids while it has its default, so
that rows that are years old keep theirs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


def later_defaults(kind: type, *, original: frozenset[str]) -> dict[str, Any]:
    """Return the default of each field that the dataclass ``kind`` got after those in ``original``, by name.

    Raises:
        TypeError: If a later field has no default, which would rename every id, or an original one is gone.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not original <= fields.keys():
        raise TypeError(f"{kind.__name__} lost {sorted(original - fields.keys())}, which its ids hash")
    found = {}
    for name in fields.keys() - original:
        field = fields[name]
        if field.default_factory is not dataclasses.MISSING:
            found[name] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            found[name] = field.default
        else:
            raise TypeError(f"{kind.__name__}.{name} needs a default: it was added after ids were given")
    return found


def hashed_values(values: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a dataclass's values by name the later ones that are at their default.

    Args:
        values: Of all fields.
        later: What ``later_defaults`` gave.
    """
    return {name: value for name, value in values.items() if name not in later or value != later[name]}
