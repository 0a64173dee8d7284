"""Read Dockerfiles far enough to check them: instructions, stages, and commands in exec form."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction with its whole text, continuation lines joined."""

    word: str
    text: str


def read_dockerfile(path: Path) -> list[Instruction]:
    """Split a Dockerfile into instructions; comments and empty lines are dropped."""
    out, pending = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("#") or not (line.strip() or pending):
            continue
        pending += line.strip().removesuffix("\\")
        if line.rstrip().endswith("\\"):
            continue
        word, _, text = pending.partition(" ")
        out.append(Instruction(word.upper(), text.strip()))
        pending = ""
    assert not pending, f"{path} ends in the middle of an instruction"
    return out


def last_stage(instructions: list[Instruction]) -> list[Instruction]:
    """Return what makes the image that is kept: from the last FROM on."""
    start = max(i for i, entry in enumerate(instructions) if entry.word == "FROM")
    return instructions[start:]


def texts(instructions: list[Instruction], word: str) -> list[str]:
    """Return the texts of all instructions called ``word``."""
    return [entry.text for entry in instructions if entry.word == word]


def exec_form(text: str) -> list[str]:
    """Read ``["a", "b"]``; a shell form is refused, for it hides the program from signals."""
    values = json.loads(text)
    assert isinstance(values, list), text
    assert all(isinstance(v, str) for v in values), text
    return values
