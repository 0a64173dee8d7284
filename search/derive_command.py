"""The command that cuts a stored subnet again, for whoever looks at its row."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the name of the column is known without the database
    from nuwa_search.store.budget import BudgetAnswer
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


def with_budget_commands(answers: Sequence["BudgetAnswer"], store: "Store") -> list["BudgetAnswer"]:
    """Add the command to every point that an explained budget names."""
    return [
        replace(
            answer,
            best=None if answer.best is None else with_derive_commands([answer.best], store)[0],
            steps_up=tuple(with_derive_commands(answer.steps_up, store)),
            steps_down=tuple(with_derive_commands(answer.steps_down, store)),
            curve=tuple(with_derive_commands(answer.curve, store)),
        )
        for answer in answers
    ]
