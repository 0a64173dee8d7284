"""Small pictures of the test images that a search's cut lost."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.source_name import DEMO_DATA
from nuwa_search.deploy.lost_names import LIST, LOST
from nuwa_search.service.api.context import SettingsOf, StoreOf, Word
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.roots import is_inside, path_inside
from nuwa_search.service.api.routes.searches import need_study
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.studies import StudyRecord

router = APIRouter(prefix="/searches", tags=["searches"])
MAX_PICTURE_BYTES = 1 << 20
"""Of a picture in a bundle: 96 × 96 pixels take 30 kB."""
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
    record = need_study(study, store)
    images = ((record.result or {}).get("lost_images") or {}).get("images") or []
    if number >= len(images):
        raise HttpError(404, f"search {study!r} kept {len(images)} lost images, and none of number {number}")
    about = images[number]
    try:
        content = _from_data(record, about, images, settings)
    except HttpError:
        kept = _from_bundle(record, number, about, settings)
        if kept is None:
            raise
        content = kept
    # A hash names the content, so a browser may keep it; nobody else may.
    return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


def _from_data(
    record: StudyRecord, about: Mapping[str, Any], images: Sequence[Mapping[str, Any]], settings: ServiceSettings
) -> bytes:
    """Make the picture of the image itself, as it lies in the data."""
    from nuwa_search.deploy.lost_picture import lost_picture  # loads Pillow, which no other route needs

    data = str(record.settings.get("data") or DEMO_DATA)
    if data != DEMO_DATA:
        path_inside(data, settings.roots, where="data")
    try:
        return lost_picture(
            data,
            file=about.get("file"),
            image_hash=str(about.get("hash")),
            known=[str(image.get("hash")) for image in images],
            column=record.settings.get("label_column"),
        )
    except NuwaError as error:
        raise HttpError(404, error.message, hint=error.hint) from error


def _from_bundle(record: StudyRecord, number: int, about: Mapping[str, Any], settings: ServiceSettings) -> bytes | None:
    """Read the picture that the search put into its bundle; None where it is not there, or another search's."""
    folder = FilePath(str(((record.result or {}).get("artifacts") or {}).get("dir"))) / LOST
    path = folder / f"{number:02}.png"
    if not (is_inside(path, settings.roots) and path.is_file() and path.stat().st_size <= MAX_PICTURE_BYTES):
        return None
    try:
        listed = read_object(folder / LIST, what="list of lost images").get("images")
    except NuwaError:
        return None
    rows = listed if isinstance(listed, list) else []
    is_known = number < len(rows) and isinstance(rows[number], dict) and rows[number].get("hash") == about.get("hash")
    return path.read_bytes() if is_known else None
