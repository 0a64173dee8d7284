"""Take the screenshots of ``docs/page.md``: ``python -m tests.support.page_screens URL STUDY``."""

import re
import shutil
import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, sync_playwright

SCREENS_DIR = Path(__file__).resolve().parents[2] / "docs" / "screens"
SIZES = {"wide": (1280, 800), "narrow": (360, 740)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SCROLLED_TO = {"certificate": "Certificate", "classes": "Accuracy by class"}
"""Views of which a lower part is shown."""
SETTLE_MS = 800
"""After the title is there: charts are drawn, and the events of a finished search are read."""


def routes(page: Page, study: str) -> dict[str, str]:
    """Name what to show: a finished search, its subnet, its front, and the device it was for."""
    found = page.request.get(f"/api/v1/searches/{study}").json()
    rows = page.request.get(f"/api/v1/subnets?task_id={found['task_id']}&device={found['device']}").json()["rows"]
    other = next(row["subnet_id"] for row in rows if row["subnet_id"] != found["subnet_id"])
    front = f"front?device={found['device']}&task={found['task_id']}&budget={found['budget_ms']}"
    return {
        "front": front,
        "front-zoom": f"{front}&zoom=front",
        "subnet": f"subnets/{found['subnet_id']}",
        "certificate": f"subnets/{found['subnet_id']}",
        "classes": f"subnets/{found['subnet_id']}",
        "compare": f"compare/{found['subnet_id']}/{other}",
        "bundles": "bundles",
        "devices": "devices",
        "device": f"devices/{found['device']}",
        "searches": "searches",
        "search": f"searches/{found['study']}",
        "new": "searches/new",
    }


def take(url: str, study: str, folder: Path) -> None:
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
                for name, route in routes(page, study).items():
                    page.goto("about:blank")  # a change behind # alone would load nothing
                    page.goto(f"/#/{route}")
                    page.wait_for_selector("main h1")
                    page.wait_for_selector(".loading", state="detached")
                    if name in SCROLLED_TO:
                        page.get_by_role("region", name=SCROLLED_TO[name], exact=True).first.evaluate(
                            "e => e.scrollIntoView()"
                        )
                    page.wait_for_timeout(SETTLE_MS)
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
    take(sys.argv[1], sys.argv[2], SCREENS_DIR)
    shrink(SCREENS_DIR)
