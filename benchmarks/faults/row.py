"""One row of the table: a fault, how often, and what it cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FaultRow:
    """What became of the attempts of one fault.

    Args:
        fault: What was done.
        attempts: How often.
        lost: Trials, rows or jobs that were there, or promised, and are not.
        twice: Trials, rows or jobs that are there twice.
        wrong: Results other than the unbroken run's, and errors that are no sentence.
        refused: Attempts that ended with a sentence of their own, as they should where nothing can be done.
        note: How it was done, or why it was not.
    """

    fault: str
    attempts: int
    lost: int
    twice: int
    wrong: int
    refused: int = 0
    note: str = ""


def not_run(fault: str, why: str) -> FaultRow:
    """Say of a fault that this machine cannot have why."""
    return FaultRow(fault, 0, 0, 0, 0, note=f"not run: {why}")
