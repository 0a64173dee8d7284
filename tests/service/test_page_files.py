"""What can be said of the page without a browser: whole, safe by construction, readable in both themes."""

import colorsys
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from nuwa_search.service.cli.commands.serve import bound_socket
from nuwa_search.store.store import open_store
from tests.support.api_client import client_of

WEB = Path(__file__).resolve().parents[2] / "service" / "web"
SCRIPTS = sorted(WEB.rglob("*.js"))
IMPORT = re.compile(r"""(?:from|import)\s*\(?\s*["'](\.{1,2}/[^"']+)["']""")
AA_TEXT, AA_GRAPHIC = 4.5, 3.0
"""Contrast that WCAG 2.2 asks of text (1.4.3) and of controls and graphics (1.4.11)."""


def _name(path: Path) -> str:
    return str(path.relative_to(WEB))


@pytest.mark.parametrize("script", SCRIPTS, ids=_name)
def test_every_import_is_a_file(script: Path) -> None:
    wanted = IMPORT.findall(script.read_text())
    assert [name for name in wanted if not (script.parent / name).resolve().is_file()] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=_name)
def test_scripts_never_parse_data_as_markup_or_code(script: Path) -> None:
    text = script.read_text()
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.srcdoc|javascript:"
    assert re.findall(forbidden, text) == []
    assert 'setAttribute("style"' not in text
    assert len(text.splitlines()) < 250


def _reached(*entries: str, pattern: "re.Pattern[str]" = IMPORT) -> set[str]:
    """Follow imports from some modules; names are relative to the page's folder."""
    reached, left = set(), [WEB / entry for entry in entries]
    while left:
        script = left.pop()
        if script not in reached:
            reached.add(script)
            left += [(script.parent / name).resolve() for name in pattern.findall(script.read_text())]
    return {_name(path) for path in reached}


def test_every_module_is_reached_from_the_entry() -> None:
    assert {_name(path) for path in SCRIPTS} == _reached("js/app.js", "js/theme-boot.js")


def test_what_the_first_view_imports_is_fetched_at_once() -> None:
    listed = re.findall(r'rel="modulepreload" href="/web/([^"]+)"', (WEB / "index.html").read_text())
    at_once = re.compile(r"""from\s+["'](\.{1,2}/[^"']+)["']""")  # not what is imported when a view is opened
    assert sorted(listed) == sorted(_reached("js/app.js", "js/views/front.js", pattern=at_once) - {"js/app.js"})


def test_the_document_refers_to_files_of_its_own_only() -> None:
    text = (WEB / "index.html").read_text()
    addresses = re.findall(r'(?:href|src)="([^"#]+)"', text)
    assert addresses
    assert [a for a in addresses if not (WEB / a.removeprefix("/web/")).is_file()] == []
    assert re.findall(r"\sstyle=|\son\w+=|<style|<script(?![^>]*src=)", text) == []


def _colours() -> dict[str, tuple[str, str]]:
    tokens = (WEB / "css/tokens.css").read_text()
    return {
        name: (light, dark) for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\)", tokens)
    }


def _luminance(colour: str) -> float:
    channels = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(a: str, b: str) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _pairs() -> Iterator[tuple[str, str, float]]:
    for ground in ("bg", "surface", "sunken"):
        for text in ("ink", "muted", "accent", "bad"):
            yield text, ground, AA_TEXT
    for ground in ("surface", "bg"):
        yield "line-strong", ground, AA_GRAPHIC  # borders of fields, hollow points
        yield "time", ground, AA_GRAPHIC
    yield from (("accent-ink", "accent", AA_TEXT), ("ink", "accent-soft", AA_TEXT), ("muted", "accent-soft", AA_TEXT))
    yield from (("bad", "bad-soft", AA_TEXT), ("ink", "bad-soft", AA_TEXT), ("surface", "ink", AA_TEXT))
    yield "accent", "accent-soft", AA_TEXT


@pytest.mark.parametrize(("front", "ground", "least"), list(_pairs()))
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_is_enough(front: str, ground: str, least: float, theme: int) -> None:
    colours = _colours()
    assert _contrast(colours[front][theme], colours[ground][theme]) >= least


def test_contrast_formula_on_known_pairs() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_there_is_one_accent_and_another_colour_for_time() -> None:
    hues = {
        name: colorsys.rgb_to_hls(*(int(light[k : k + 2], 16) / 255 for k in (1, 3, 5)))
        for name, (light, _) in _colours().items()
    }
    vivid = {name for name, (_, _, saturation) in hues.items() if saturation > 0.4}
    assert vivid <= {"accent", "bad", "bad-soft", "time"}
    sheets = "".join(path.read_text() for path in (WEB / "css").glob("*.css"))
    coloured = dict(
        re.findall(r"\n\.((?:kept|time-\w+|swatch-\w+)(?:,\n\.[\w-]+)*) \{\n  (?:fill|background): ([^;]+)", sheets)
    )
    kept = {colour for names, colour in coloured.items() if "kept" in names}
    times = {colour for names, colour in coloured.items() if "time-" in names or "swatch-attn" in names}
    assert kept == {"var(--accent)"}
    assert times == {"var(--time)"}


def test_every_colour_comes_from_the_tokens() -> None:
    for sheet in (WEB / "css").glob("*.css"):
        if sheet.name != "tokens.css":
            assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgb\(|hsl\(", sheet.read_text()) == [], sheet.name


def test_files_of_the_page_come_from_memory_as_they_are(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "nuwa.sqlite")) as store:
        client = client_of(store, tmp_path)
        for name in ("js/app.js", "css/base.css", "icon.svg"):
            answer = client.get(f"/web/{name}")
            assert answer.content == (WEB / name).read_bytes()
            assert client.get(f"/web/{name}", headers={"if-none-match": answer.headers["etag"]}).status_code == 304
        assert client.get("/web/js/app.js").headers["content-type"] == "text/javascript; charset=utf-8"
        assert client.get("/web/js/app.js", headers={"range": "bytes=0-9"}).status_code == 206
        assert client.get("/web/js/missing.js").status_code == 404


def test_small_packets_are_not_held_back() -> None:
    with bound_socket(uvicorn.Config("app", host="127.0.0.1", port=0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # else asyncio leaves Nagle's algorithm on: 40 ms an answer
