"""Downloads of what was shipped."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse

from nuwa_search.service.api.bundle_view import served_file, served_folder, zip_of
from nuwa_search.service.api.context import SettingsOf, StoreOf, Word
from nuwa_search.service.api.releasing import TemporaryFileResponse

router = APIRouter(prefix="/subnets", tags=["bundles"])
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/{subnet_id}/bundle.zip",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": _BYTES}, "description": "All files of the bundle"}},
)
def download_bundle(subnet_id: Annotated[Word, Path()], store: StoreOf, settings: SettingsOf) -> TemporaryFileResponse:
    """Download the bundle of a subnet as one archive; one that broke off goes on with Range and If-Range."""
    folder = served_folder(subnet_id, store, settings)
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in folder.name)
    return TemporaryFileResponse(zip_of(folder), media_type="application/zip", filename=f"{name}.zip")


@router.get(
    "/{subnet_id}/files/{name:path}",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": _BYTES}, "description": "The file"}},
)
def download_file(
    subnet_id: Annotated[Word, Path()], name: Annotated[Word, Path()], store: StoreOf, settings: SettingsOf
) -> FileResponse:
    """Download one file of the bundle of a subnet."""
    path = served_file(served_folder(subnet_id, store, settings), name)
    # Never shown in the page's own origin, whatever it calls itself.
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)
