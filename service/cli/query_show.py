"""Print the answer of ``nuwa query``: tables for people, rows for programs."""

from nuwa_search.lab.query_columns import SHOWN
from nuwa_search.lab.table import Table
from nuwa_search.search.derive_command import COLUMN
from nuwa_search.service.cli.output import Output
from nuwa_search.service.cli.query_view import show_budgets, show_comparison, show_studies, show_subnets


def show_answer(answer: Table, output: Output) -> None:
    """Print an answer that has rows as tables for people, or as rows."""
    is_for_people = output.is_terminal and not output.csv
    if is_for_people and answer.kind == "subnets":
        show_subnets(answer.rows, output)
    elif is_for_people and answer.kind == "budgets":
        show_budgets(answer.rows, output)
    elif is_for_people and answer.kind == "studies":
        show_studies(answer.rows, output)
    elif is_for_people and answer.kind == "comparisons":
        show_comparison(answer.rows, output)
    elif is_for_people:
        output.table(answer.flat, columns=SHOWN.get(answer.kind, answer.columns), may_drop=True)
    else:
        output.table(answer.flat, columns=answer.columns)
    if is_for_people and COLUMN in answer.columns:
        output.note("cut one of them again, as it was scored: nuwa derive --subnet ID -o DIR")
