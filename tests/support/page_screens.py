"""Take the screenshots of ``docs/page.md`` from a running server: ``python -m tests.support.page_screens URL``."""

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

SCREENS_DIR = Path(__file__).resolve().parents[2] / "docs" / "screens"
SIZES = {"wide": (1280, 800), "narrow": (360, 740)}
SCHEMES = ("light", "dark")


def routes(page: Page) -> dict[str, str]:
    """Find what to show: the newest finished search, its subnet, and the device it was for."""
    found = page.request.get("/api/v1/searches?state=done").json()["rows"][0]
    return {
        "front": "front",
        "front-zoom": f"front?device={found['device']}&zoom=front",
        "subnet": f"subnets/{found['subnet_id']}",
        "devices": "devices",
        "device": f"devices/{found['device']}",
        "searches": "searches",
        "search": f"searches/{found['study']}",
        "new": "searches/new",
    }


def take(url: str, folder: Path) -> None:
    """Write every view in every size and theme into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for size, (width, height) in SIZES.items():
            for scheme in SCHEMES:
                context = browser.new_context(
                    base_url=url, viewport={"width": width, "height": height}, color_scheme=scheme
                )
                page = context.new_page()
                for name, route in routes(page).items():
                    page.goto(f"/#/{route}")
                    page.wait_for_selector("main h1")
                    page.wait_for_load_state("networkidle")
                    page.screenshot(path=folder / f"{name}-{size}-{scheme}.png")
                context.close()
        browser.close()


def shrink(folder: Path) -> None:
    """Store the pictures with 128 colours, which suffice for lines and text, at a quarter of the bytes."""
    from PIL import Image

    for path in folder.glob("*.png"):
        if re.search(r"-(wide|narrow)-(light|dark)\.png$", path.name):
            Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    take(sys.argv[1], SCREENS_DIR)
    shrink(SCREENS_DIR)
