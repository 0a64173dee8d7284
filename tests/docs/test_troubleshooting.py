"""The page on errors quotes messages of this program, and commands that there are."""

import ast
import re
from pathlib import Path

import pytest

from nuwa_search.service.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
LAYERS = ("core", "store", "deploy", "latency", "predictors", "search", "service", "nuwa_search/lab")
QUOTED = [
    row.split("|")[1].strip().strip("`")
    for part in PAGE.split("| it says |")[1:]
    for row in part.split("\n\n")[0].splitlines()[2:]
]


def _text(node: ast.expr) -> str:
    """Render a string of the source with ``…`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return "…"


@pytest.fixture(scope="module")
def said() -> str:
    """Every string of the program longer than a word, a line each."""
    lines = set()
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant | ast.JoinedStr):
                    lines.add(_text(node))
    return "\n".join(line for line in lines if len(line) > 8)


def test_every_message_is_one_that_the_program_says(said: str) -> None:
    assert len(QUOTED) > 25
    unknown = [message for message in QUOTED if message.removeprefix("… ") not in said]
    assert unknown == []


def test_every_command_exists() -> None:
    verbs = re.findall(r"`nuwa ([a-z]+)", PAGE)
    assert len(verbs) > 10
    assert set(verbs) <= set(COMMANDS)
