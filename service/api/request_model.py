"""Models of request bodies, made from the list of a search's options."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from nuwa_search.core.img_size import MAX_SIDE
from nuwa_search.search.option import Option
from nuwa_search.service.api.context import Word

_Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
ImageSize = (
    _Side
    | Annotated[list[_Side], Field(min_length=2, max_length=2)]
    | Annotated[str, Field(pattern=r"^[0-9]{1,5}([xX][0-9]{1,5})?$")]
)
"""Size of an image in pixels: a number, a list of height and width, or ``HxW``."""


class StrictBody(BaseModel):
    """A body in which an unknown name is an error."""

    model_config = ConfigDict(extra="forbid")


def model_from_options(
    name: str, options: Mapping[str, Option], *, doc: str, is_change: bool, more: Mapping[str, Any] | None = None
) -> type[StrictBody]:
    """Make a model of what a client may say.

    Args:
        name: Of the model, in the OpenAPI description.
        options: By field.
        doc: What the model is, there.
        is_change: Whether everything may be left out, because a stored search has it; null then is left out too.
        more: Further fields as pydantic takes them.
    """
    fields: dict[str, Any] = dict(more or {})
    for option in options.values():
        if not option.is_for_clients:
            continue
        kind = _type_of(option)
        about = Field(description=option.client_help)
        if option.is_needed and not is_change:
            fields[option.client_name] = (Annotated[kind, about], ...)
        elif is_change or option.may_be_none or option.kind == "folder":
            fields[option.client_name] = (Annotated[kind | None, about], None)
        else:
            default = list(option.default) if isinstance(option.default, tuple) else option.default
            fields[option.client_name] = (Annotated[kind, about], default)
    return create_model(name, __base__=StrictBody, __doc__=doc, **fields)


def _type_of(option: Option) -> Any:
    if option.kind in ("number", "budget"):
        return Annotated[float, Field(gt=0, le=option.client_most, allow_inf_nan=False)]
    if option.kind in ("count", "whole"):
        return Annotated[int, Field(ge=int(option.kind != "whole"), le=option.client_most)]
    if option.kind == "choice":
        return Literal[option.choices]
    if option.kind == "side":
        return ImageSize
    if option.kind == "sides":
        return Annotated[list[ImageSize], Field(min_length=option.client_least, max_length=option.client_most)]
    if option.is_list:
        return Annotated[list[Word], Field(min_length=option.client_least, max_length=option.client_most)]
    return bool if option.kind == "switch" else Word
