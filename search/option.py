"""What one option of a search is, said beside its field: command line, API, form and docs are made from it."""

import dataclasses
import math
import re
import types
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.img_size import ImgSize, img_size_from_value, is_pair, size_words
from nuwa_search.core.source_name import absolute_path

Kind = Literal[
    "number", "budget", "count", "side", "sides", "whole", "choice", "switch", "text", "device", "source", "folder",
    "classes", "globs", "budgets",
]  # fmt: skip
"""A finite number above 0; one whose flag may also be given as ``N@DEVICE``, and then repeated; an integer from 1;
the size of an image in pixels, a number or height and width; several such sizes; an integer from 0; one of ``choices``;
on or off; a word; a device; a name or path of a base or of images; a folder that is written; classes by name or index;
globs over names, whose flag may be repeated; the further ``N@DEVICE`` of the flag of a ``budget``."""
_SEPARATORS = re.compile(r"[,\s]+")
OptionValue = str | int | float | bool | tuple[str, ...] | tuple[int, ...] | tuple[ImgSize, ...] | None


@dataclass(frozen=True)
class Option:
    """One option; ``options_of`` fills in what the field itself says: ``name``, ``default`` and the two after it.

    Args:
        kind: What it may be set to.
        help: One sentence for the command line and the docs.
        metavar: Stands for the value there.
        flag: Name on the command line, without dashes; empty for the field's, with ``no-`` before a switch that is on.
        short: One-letter spelling with its dash.
        choices: Of a ``choice``.
        empty: What no value means.
        is_resumable: Whether it may be changed when a study is resumed; the others decide what was found.
        is_for_clients: Whether clients of the HTTP API may set it.
        client_name: Name there; empty for the field's.
        client_least: Fewest values that a list from a client may have.
        client_most: Largest number, or longest list, that a client may ask for.
        label: On the form; empty for the field's name.
        hint: Under the field of the form; None for ``help``.
        unit: After the field of the form.
        is_main: Whether the form shows it at once.
        name: Name of the field.
        default: Value where none is given.
        is_needed: Whether there is no default.
        may_be_none: Whether None is a value.
    """

    kind: Kind
    help: str
    metavar: str | None = None
    flag: str = ""
    short: str | None = None
    choices: tuple[str, ...] = ()
    empty: str = ""
    is_resumable: bool = False
    is_for_clients: bool = True
    client_name: str = ""
    client_least: int = 1
    client_most: int = 1_000_000
    label: str = ""
    hint: str | None = None
    unit: str = ""
    is_main: bool = False
    name: str = ""
    default: OptionValue = None
    is_needed: bool = False
    may_be_none: bool = False

    @property
    def help_line(self) -> str:
        """The help with what no value means."""
        return f"{self.help}  [{self.empty}]" if self.empty else self.help

    @property
    def client_help(self) -> str:
        """The help for who sets the field itself: a flag ``--no-…`` says what happens without it."""
        return f"{self.label[:1].upper()}{self.label[1:]}." if self.is_negated else self.help_line

    @property
    def is_repeated(self) -> bool:
        """Whether the flag may be given several times, each with one value or several with commas between."""
        return self.kind in ("globs", "budget", "budgets")

    @property
    def has_own_flag(self) -> bool:
        """Whether the flag is this option's, and not one that it shares with the option before it."""
        return self.kind != "budgets"

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return self.kind in ("classes", "globs", "budgets", "sides")

    @property
    def is_negated(self) -> bool:
        """Whether the flag turns off what is on."""
        return self.kind == "switch" and self.default is True

    def value_of_flag(self, value: object) -> Any:
        """Turn what the command line holds into the field's value: paths absolute, ``--no-…`` the other way round.

        Of budgets, which several fields are made of, the words that were given.
        """
        if self.is_negated:
            return not value
        if self.is_repeated:
            return tuple(
                word for text in cast("Sequence[str]", value or ()) for word in _SEPARATORS.split(text) if word
            )
        if value is not None and self.kind == "source":
            return absolute_path(str(value))
        if value is not None and self.kind == "folder":
            return str(expanded(str(value)).absolute())
        return value

    def said(self, value: object) -> str:
        """Write a value as it is given on the command line: ``with --trials 60``, ``without --no-deploy``."""
        if self.kind == "switch":
            return f"{'with' if bool(value) is not self.default else 'without'} --{self.flag}"
        if self.kind == "budgets" and not value:
            return f"without a further --{self.flag}"
        if value is None or (self.is_repeated and not value):
            return f"without --{self.flag}"
        if self.kind == "side":
            return f"with --{self.flag} {size_words(img_size_from_value(value))}"
        if self.kind == "sides":
            words = ",".join(size_words(img_size_from_value(part)) for part in cast("Sequence[object]", value))
            return f"with --{self.flag} {words}"
        if isinstance(value, list | tuple):
            return f"with --{self.flag} {','.join(str(part) for part in value)}"
        return f"with --{self.flag} {f'{value:g}' if isinstance(value, float) else value}"

    def settled(self, value: Any) -> Any:
        """Return a value as a request holds it: a size that clients, files and Python write in several ways is one.

        Raises:
            NuwaError: If it is written as a size and is not a valid one.
        """
        if self.kind == "side" and value is not None:
            return img_size_from_value(value, f"--{self.flag}")
        if self.kind == "sides" and is_pair(value):
            return tuple(img_size_from_value(part, f"--{self.flag}") for part in value)
        return value

    def check(self, value: object) -> None:
        """Refuse a value that this option cannot have.

        Raises:
            NuwaError: If it cannot; the message names the option's flag, what was wanted and what was found.
        """
        if not (self.may_be_none and value is None) and not self._holds(value):
            wanted = f"one of {', '.join(self.choices)}" if self.kind == "choice" else _WANTED[self.kind]
            raise NuwaError(f"--{self.flag}: wanted {wanted}, found {value!r}", hint="nuwa search --help")

    def _holds(self, value: object) -> bool:
        if self.kind == "switch":
            return isinstance(value, bool)
        if self.kind == "sides":
            return isinstance(value, tuple) and all(_is_size(part) for part in value)
        if self.kind == "side":
            return _is_size(value)
        if self.kind in ("globs", "budgets"):
            return isinstance(value, tuple) and all(isinstance(part, str) and part.isprintable() for part in value)
        if self.kind == "classes":
            return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
        if self.kind in ("number", "budget"):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and math.isfinite(float(str(value))) and float(str(value)) > 0
        if self.kind in ("count", "whole"):
            return isinstance(value, int) and not isinstance(value, bool) and value >= (self.kind != "whole")
        return isinstance(value, str) and (self.kind != "choice" or value in self.choices)


def _is_size(value: object) -> bool:
    sides = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    return all(type(side) is int and side >= 1 for side in sides)


_WANTED = {
    "switch": "true or false",
    "classes": "names of classes",
    "globs": "globs over names",
    "budgets": "budgets as N@DEVICE",
    "number": "a finite number above 0",
    "budget": "a finite number above 0",
    "count": "a whole number of at least 1",
    "side": "whole pixels, N or HxW",
    "sides": "whole pixels, each N or HxW",
    "whole": "a whole number of at least 0",
    "text": "text",
    "device": "the name of a device",
    "source": "a name or a path",
    "folder": "a path",
}


def options_of(request: type) -> Mapping[str, Option]:
    """Read the options of a request class by field, in their order.

    Args:
        request: A dataclass whose fields are annotated ``Annotated[TYPE, Option(…)]``.

    Raises:
        TypeError: If a field has no option.
    """
    return _options_of(cast(Hashable, request))


@cache
def _options_of(request: type) -> Mapping[str, Option]:
    hints = get_type_hints(request, include_extras=True)
    found = {}
    for field in dataclasses.fields(request):
        inner, *extras = get_args(hints[field.name]) or (None,)
        said = next((extra for extra in extras if isinstance(extra, Option)), None)
        if said is None:
            raise TypeError(f"field {field.name} of {request.__name__} says nothing about itself: annotate an Option")
        is_needed = field.default is dataclasses.MISSING
        default: Any = None if is_needed else field.default
        words = field.name.replace("_", "-")
        found[field.name] = dataclasses.replace(
            said,
            name=field.name,
            flag=said.flag or (f"no-{words}" if default is True else words),
            client_name=said.client_name or field.name,
            label=said.label or field.name.replace("_", " "),
            default=default,
            is_needed=is_needed,
            may_be_none=get_origin(inner) in (Union, types.UnionType) and type(None) in get_args(inner),
        )
    return types.MappingProxyType(found)
