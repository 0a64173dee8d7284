"""``nuwa compare``: two stored subnets side by side."""

from typing import TYPE_CHECKING, Any

import click

from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import output_from_flags

if TYPE_CHECKING:
    pass


@click.command("compare", cls=NuwaCommand)
@click.argument("subnet", metavar="ID")
@click.argument("other", metavar="ID")
@with_flags()
def command(subnet: str, other: str, **values: Any) -> None:
    """Put two subnets of the database side by side: accuracy, latencies, size, blocks, and how to make each again.

    `nuwa query` lists their ids. Accuracies are only compared on the same images.
    """
    output = output_from_flags(values)
    with laboratory(values, say=output.note, must_exist=True) as lab:
        found = lab.compare(subnet, other)
    if output.json:
        output.document(found.document())
        return
    from nuwa_search.service.cli.compare_view import block_rows, figure_rows

    output.table(figure_rows(found))
    if found.differences.blocks:
        output.table(block_rows(found))
    for letter, one in zip("AB", found.subnets, strict=True):
        for line in one.commands:
            output.note(f"{letter}, {line.what}: {line.command}")
