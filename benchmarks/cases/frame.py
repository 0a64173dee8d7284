"""One case: what is built, what is asked, and the right answer.

A case file must import nothing of the program: it runs with the old commit's modules as well, which have other names
and places. ``part`` and ``pick`` find them in either tree.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OLD = "NUWA_CASES_OLD"
"""Environment variable that is set where the old commit's modules are meant."""

MAX_TEXT = 160
"""Characters of an answer in the table."""


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        name: What is asked, with the kind of fault before the colon.
        right: The right answer; ``refused`` stands for any refusal in the program's own words.
        ask: Builds the case in an empty folder and returns the answer in a few words.
    """

    name: str
    right: str
    ask: Callable[[Path], str]


CASES: list[Case] = []


def case(name: str, *, right: str) -> Callable[[Callable[[Path], str]], Callable[[Path], str]]:
    """Add a function to the table."""

    def add(ask: Callable[[Path], str]) -> Callable[[Path], str]:
        CASES.append(Case(name, right, ask))
        return ask

    return add


def part(name: str) -> Any:
    """Import a module of the program, such as ``core.task``, from the tree that is being asked."""
    if OLD not in os.environ:
        return importlib.import_module(f"nuwa_search.{name}")
    folder, _, rest = name.partition(".")
    moved = {"core": "nuwa", "store": "nuwa.store"}  # the house before everything was imported through one package
    return importlib.import_module(f"{moved.get(folder, folder)}.{rest}")


def pick(name: str, *modules: str) -> Any:
    """Take a function from the first of several modules that has it: things move."""
    for module in modules:
        try:
            return getattr(part(module), name)
        except (ImportError, AttributeError):
            continue
    raise LookupError(f"{name} is in none of {', '.join(modules)}")


def answer(one: Case, folder: Path) -> str:
    """Ask one case; a refusal and a crash are answers too."""
    refusal = part("core.errors").NuwaError
    try:
        text = one.ask(folder)
    except refusal as error:
        text = f"refused: {error}"
    except Exception as error:  # an unnamed exception is what the table shows
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.replace(str(folder), "DIR").split())[:MAX_TEXT]


def is_right(text: str, right: str) -> bool:
    """Whether an answer is the right one; a refusal by its first word."""
    return text.split(":")[0] == "refused" if right == "refused" else text == right
