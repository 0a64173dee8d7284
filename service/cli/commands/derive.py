"""``nuwa derive``: one subnet with weights, no search."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.core.settings import default_cache_dir
from nuwa_search.core.source_name import absolute_path
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.figures import share
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import Output, output_from_flags

if TYPE_CHECKING:
    from nuwa_search.service.workflow.derive import DerivedAgain

STORED_WITH_A_SUBNET = ("arch", "classes", "seed", "img_size")
"""Flags that are part of what a subnet id means."""


@click.command("derive", cls=NuwaCommand)
@with_flags("base", "img-size", "arch", "subnet", "data", "label-column", "classes", "cache-dir", writes=True)
def command(**values: Any) -> None:
    """Cut one subnet out of a base in closed form and write it as a bundle (-o DIR).

    With --subnet, exactly the net that was scored under that id; --base and --data then say where its base and images
    lie now, if they were moved.
    """
    output = output_from_flags(values, use_path=False)
    named = _named_flags()
    if (values["arch"] is None and values["subnet"] is None) or values["output"] is None:
        raise NuwaError(
            "derive needs an arch or a subnet, and a folder",
            hint="nuwa derive --arch FILE -o DIR, or nuwa derive --subnet ID -o DIR",
        )
    twice = [name for name in STORED_WITH_A_SUBNET if name in named] if values["subnet"] is not None else []
    if twice:
        raise NuwaError(
            f"--{twice[0].replace('_', '-')} is part of what a subnet id means, and cannot be chosen beside --subnet",
            hint="nuwa derive --arch FILE -o DIR cuts an arch for other classes or another seed",
        )
    if values["subnet"] is None:
        require_demo(values["base"], data=values["data"])
    from nuwa_search.deploy.bundle import is_bundle
    from nuwa_search.service.workflow.derive import (
        DeriveAnswer,
        DerivedAgain,
        DeriveRequest,
        derive_arch,
        derive_subnet,
    )
    from nuwa_search.service.workflow.reopen import Moved

    folder = expanded(values["output"])
    if is_bundle(folder) and not confirmed(f"Replace the bundle in {folder}?", yes=values["yes"]):
        output.note("nothing derived")
        return
    cache_dir = Path(values["cache_dir"] or default_cache_dir())
    base, data, column = absolute_path(values["base"]), absolute_path(values["data"]), values["label_column"]
    with database(values) as store:
        if values["subnet"] is not None:
            moved = Moved(
                base=base if "base" in named else None,
                data=data if "data" in named else None,
                label_column=column if "label_column" in named else None,
            )
            answer: DeriveAnswer = derive_subnet(
                values["subnet"], moved, store=store, folder=folder, cache_dir=cache_dir
            )
        else:
            request = DeriveRequest(base, data, column, values["classes"], values["seed"], values["img_size"])
            answer = derive_arch(values["arch"], request, store=store, folder=folder, cache_dir=cache_dir)
    if isinstance(answer, DerivedAgain):
        _say_stored(answer, output)
    for note in answer.notes:
        output.note(note)
    if output.json:
        output.document({"schema": "nuwa.derive/1", **answer.to_json()})
    else:
        output.table([{name: value for name, value in answer.to_json().items() if not isinstance(value, dict | list)}])


def _named_flags() -> set[str]:
    """List the flags that the user wrote on this line."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}


def _say_stored(answer: "DerivedAgain", output: Output) -> None:
    """Say how the weights that were cut stand to what the database says of the subnet."""
    stored, tuned = answer.stored, answer.top1_finetuned
    if stored is not None and not answer.is_same:
        output.warn(
            f"the database has top1 {_said(stored.top1_search, stored.num_images)} and KL {stored.kl_to_teacher:.5g} "
            f"of {stored.num_images} images: another processor or version gave this subnet slightly other weights"
        )
    if tuned is not None:
        output.note(
            f"top1 {_said(tuned.top1, tuned.num_images)} on the {tuned.split} split, which the database has of this "
            "subnet, is of fine-tuned weights; these are as they were cut, and `nuwa finetune` trains them"
        )


def _said(top1: float | None, num_images: int) -> str:
    return share(top1, interval_of_share(top1, num_images))
