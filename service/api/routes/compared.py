"""Test images with masks beside what base and winner answer: small pictures that the search put into its bundle."""

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.compared_names import COMPARED, COMPARED_LIST
from nuwa_search.service.api.context import SettingsOf, StoreOf, Word
from nuwa_search.service.api.problems import HttpError
from nuwa_search.service.api.roots import is_inside
from nuwa_search.service.api.routes.searches import need_study
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.store import Store

router = APIRouter(prefix="/searches", tags=["searches"])
MAX_COMPARED = 16
"""Pictures of a search that are told of: a search writes eight."""
MAX_PICTURE_BYTES = 2 << 20
"""Of a picture in a bundle: four panels of 192 × 192 pixels take 442 kB uncompressed."""
_PNG: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.get("/{study}/compared")
def compared_images(study: Annotated[Word, Path()], store: StoreOf, settings: SettingsOf) -> dict[str, Any]:
    """List the test images that the search compared: the classes in each, and the IoU of base and winner on it.

    ``iou`` and ``iou_base`` are by class, and ``colours`` says in which colour each class is laid over; null where the
    bundle is of a version that did not keep them.
    """
    folder = _folder_of(study, store, settings)
    try:
        told = read_object(folder / COMPARED_LIST, what="list of compared images")
    except NuwaError as error:
        raise HttpError(404, f"search {study!r} compared no images, or its bundle is gone") from error
    rows = told.get("images")
    listed = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    names = ("classes", "miou_base", "miou", "iou_base", "iou")
    return {
        "schema": "nuwa.compared/1",
        "colours": told.get("colours"),
        "images": [
            {"number": number, "image": FilePath(str(row.get("image"))).name, **{name: row.get(name) for name in names}}
            for number, row in enumerate(listed[:MAX_COMPARED])
        ],
    }


@router.get(
    "/{study}/compared/{number}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": _PNG}, "description": "Image, truth, base and winner side by side"}},
)
def compared_image(
    study: Annotated[Word, Path()],
    number: Annotated[int, Path(ge=0, lt=MAX_COMPARED)],
    store: StoreOf,
    settings: SettingsOf,
) -> Response:
    """Show one of the test images: itself, and under truth, base and winner, classes laid over."""
    path = _folder_of(study, store, settings) / f"{number:02}.png"
    is_shown = is_inside(path, settings.roots) and path.is_file() and path.stat().st_size <= MAX_PICTURE_BYTES
    if not is_shown:
        raise HttpError(404, f"search {study!r} has no compared image of number {number}, or its bundle is gone")
    return Response(path.read_bytes(), media_type="image/png", headers={"Cache-Control": "private, max-age=60"})


def _folder_of(study: str, store: Store, settings: ServiceSettings) -> FilePath:
    """Find the folder in the bundle of a search.

    Raises:
        HttpError: 404, if it shipped none or it lies outside of what may be shown.
    """
    record = need_study(study, store)
    bundle = ((record.result or {}).get("artifacts") or {}).get("dir")
    folder = FilePath(str(bundle)) / COMPARED
    if not bundle or not is_inside(folder, settings.roots):
        raise HttpError(404, f"search {study!r} has no bundle here")
    return folder
