"""The page's files."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

WEB_DIR = Path(__file__).resolve().parent.parent / "web"


def install_page(app: FastAPI) -> None:
    """Serve the page at ``/`` and its files below ``/web``."""

    @app.get("/", include_in_schema=False)
    def show_page() -> FileResponse:
        return FileResponse(WEB_DIR / "index.html", media_type="text/html; charset=utf-8")

    @app.get("/favicon.ico", include_in_schema=False)
    def show_icon() -> FileResponse:
        return FileResponse(WEB_DIR / "icon.svg", media_type="image/svg+xml")

    app.mount("/web", StaticFiles(directory=WEB_DIR), name="web")
