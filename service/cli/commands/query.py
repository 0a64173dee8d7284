"""``nuwa query``: ask the search database."""

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import click
from click.core import ParameterSource

from nuwa_search.core.home import expanded
from nuwa_search.lab.keywords import QueryKeywords
from nuwa_search.lab.query_filters import FILTERS, check_filters, devices_from_text
from nuwa_search.lab.query_request import TOPICS, QueryRequest, Topic
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.table_file import check_ending, write_rows

ROWS_ON_TERMINAL = 100
"""Rows that people are shown where they asked for no number: a database may hold millions."""


@click.command("query", cls=NuwaCommand)
@click.argument("topic", type=click.Choice(TOPICS), default="subnets")
@with_flags(
    *("device", "max-ms", "min-top1", "classes", "base", "measured-only", "pareto", "explain-budget", "compare"),
    *("model", "sort", "limit", "sql"),
    defaults={"device": None, "base": None},
)
def command(topic: Topic, **values: Any) -> None:
    """Ask the search database; without a topic, for subnets.

    The answer goes to the terminal, or with -o to a .csv, .tsv, .json or .parquet file.
    """
    output = output_from_flags(values, use_path=False)
    path = expanded(values["output"]) if values["output"] else None
    if path is not None:
        check_ending(path)
    request = _request(values)
    kind = request.kind(topic)
    context = click.get_current_context()
    check_filters(kind, [name for name in values if context.get_parameter_source(name) is ParameterSource.COMMANDLINE])
    is_shown = output.is_terminal and path is None and not (output.json or output.csv)
    is_head = is_shown and request.limit is None and kind in ("subnets", "latencies")
    asked = replace(request, limit=ROWS_ON_TERMINAL) if is_head else request
    with laboratory(values, say=output.note, must_exist=True) as lab:
        answer = lab.query(topic, **_keywords(kind, asked))
    if answer.is_truncated and request.limit is None:
        output.warn(f"there is more: only the first {len(answer.rows)} rows were read")
    if path is not None:
        write_rows(path, answer.flat, answer.columns, document=answer.to_json())
        output.note(f"{len(answer.rows)} rows written to {path}")
    elif output.json:
        output.document(answer.to_json())
    elif answer.rows:
        from nuwa_search.service.cli.query_show import show_answer

        show_answer(answer, output)
    else:
        output.note(_nothing(request))
        if not output.is_terminal:
            output.table((), columns=answer.columns)
    if is_head and len(answer.rows) == ROWS_ON_TERMINAL:
        output.note(f"the first {ROWS_ON_TERMINAL} rows; --limit N shows more, --csv, --json or -o FILE gives all")


def _request(values: Mapping[str, Any]) -> QueryRequest:
    """Read the filters of the flags."""
    fields = {field.name: values[field.name] for field in dataclasses.fields(QueryRequest)}
    if fields["compare"] is not None:
        fields["compare"] = tuple(devices_from_text(fields["compare"]))
    return QueryRequest(**fields)


def _keywords(kind: str, request: QueryRequest) -> QueryKeywords:
    """Name the filters that say something about this kind of answer; others may be set in a settings file."""
    names = ("sql", *FILTERS[kind]) if request.sql is not None else FILTERS[kind]
    return cast(
        "QueryKeywords",
        {name: value for name in names if (value := getattr(request, name)) is not None and value is not False},
    )


def _nothing(request: QueryRequest) -> str:
    filters = ("device", "max_ms", "min_top1", "classes", "base", "measured_only", "model", "compare", "sql")
    if any(getattr(request, name) for name in filters):
        return "nothing matches"
    return "the database has none; `nuwa-search --budget-ms 30` fills it"
