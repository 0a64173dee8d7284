"""The page's files."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Scope

WEB_DIR = Path(__file__).resolve().parent.parent / "web"


def install_page(app: FastAPI) -> None:
    """Serve the page at ``/`` and its files below ``/web``."""

    @app.get("/", include_in_schema=False)
    def show_page() -> FileResponse:
        return FileResponse(WEB_DIR / "index.html", media_type="text/html; charset=utf-8")

    @app.get("/favicon.ico", include_in_schema=False)
    def show_icon() -> FileResponse:
        return FileResponse(WEB_DIR / "icon.svg", media_type="image/svg+xml")

    app.mount("/web", KeptFiles(WEB_DIR), name="web")


@dataclass(frozen=True)
class _Kept:
    content: bytes
    media_type: str
    etag: str


class KeptFiles(StaticFiles):
    """Serve a folder's files from memory: a first view asks for forty, and opening each took longer than its answer.

    Ranges, ``HEAD`` and what is not there are answered as ``StaticFiles`` does. Files that change while the service
    runs are seen when it is started again.

    Args:
        folder: Is read once; some hundred kilobytes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        self._kept = {
            str(path.relative_to(folder)): _kept(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, 304 where the client has it, or what ``StaticFiles`` says."""
        kept, headers = self._kept.get(path), Headers(scope=scope)
        if kept is None or scope["method"] != "GET" or "range" in headers:
            return await super().get_response(path, scope)
        response = Response(kept.content, media_type=kept.media_type, headers={"etag": kept.etag})
        if self.is_not_modified(response.headers, headers):
            return NotModifiedResponse(response.headers)
        return response


def _kept(path: Path) -> _Kept:
    content = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _Kept(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
