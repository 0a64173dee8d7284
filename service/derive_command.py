"""The command that cuts a stored subnet again, for whoever looks at its row."""

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the name of the column is known without the database
    from nuwa_search.store.store import Store

COLUMN = "derive_command"
"""Name of the command in rows."""


def derive_command(subnet_id: str, *, db: str) -> str:
    """Write the command that cuts a stored subnet again, into a folder named for it.

    Args:
        subnet_id: Of the subnet.
        db: The database, as ``Store.command_url`` gives it.
    """
    return shlex.join(["nuwa", "derive", "--subnet", subnet_id, "-o", f"subnet-{subnet_id}", "--db", db])


def on_database(*words: str, db: str) -> str:
    """Write a command that works on this database, as it is pasted into a shell."""
    return shlex.join([*words, "--db", db])


def with_derive_commands(rows: Sequence[Mapping[str, Any]], store: "Store") -> list[dict[str, Any]]:
    """Add the command to rows that have a ``subnet_id``, as their last column."""
    db = store.command_url
    return [{**row, COLUMN: derive_command(row["subnet_id"], db=db)} for row in rows]


def with_budget_commands(answers: Sequence[Mapping[str, Any]], store: "Store") -> list[dict[str, Any]]:
    """Add the command to every point that an explained budget names."""
    found = []
    for answer in answers:
        points = {name: with_derive_commands(answer[name], store) for name in ("steps_up", "steps_down", "curve")}
        best = answer["best"]
        found.append({**answer, "best": None if best is None else with_derive_commands([best], store)[0], **points})
    return found
