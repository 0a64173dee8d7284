"""Small pictures of the test images that a search's cut lost."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.source_name import DEMO_DATA
from nuwa_search.service.api.context import SettingsOf, StoreOf, Word
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.roots import path_inside
from nuwa_search.service.api.routes.searches import need_study

router = APIRouter(prefix="/searches", tags=["searches"])
_PNG: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/{study}/lost/{number}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": _PNG}, "description": "The picture"}},
)
def lost_image(
    study: Annotated[Word, Path()], number: Annotated[int, Path(ge=0, le=999)], store: StoreOf, settings: SettingsOf
) -> Response:
    """Show one of the test images that the base had right and the winner wrong, made small."""
    from nuwa_search.service.workflow.lost_picture import lost_picture  # loads Pillow, which no other route needs

    record = need_study(study, store)
    images = ((record.result or {}).get("lost_images") or {}).get("images") or []
    if number >= len(images):
        raise HttpError(404, f"search {study!r} kept {len(images)} lost images, and none of number {number}")
    data = str(record.settings.get("data") or DEMO_DATA)
    if data != DEMO_DATA:
        path_inside(data, settings.roots, where="data")
    about = images[number]
    try:
        content = lost_picture(
            data,
            file=about.get("file"),
            image_hash=str(about.get("hash")),
            known=[str(image.get("hash")) for image in images],
            column=record.settings.get("label_column"),
        )
    except NuwaError as error:
        raise HttpError(404, error.message, hint=error.hint) from error
    # A hash names the content, so a browser may keep it; nobody else may.
    return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})
