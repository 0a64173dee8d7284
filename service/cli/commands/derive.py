"""``nuwa derive``: one subnet with weights, no search."""

from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.lab.derive import check_derive
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.figures import share
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import Output, output_from_flags

if TYPE_CHECKING:
    from nuwa_search.lab.keywords import DeriveKeywords
    from nuwa_search.search.derive.single import DerivedAgain

SOURCE = ("base", "data", "label_column", "classes", "seed", "img_size")
"""Flags that say what an arch is cut from; beside a subnet, those that the user wrote say where it lies now."""


@click.command("derive", cls=NuwaCommand)
@with_flags("base", "img-size", "arch", "subnet", "data", "label-column", "classes", "cache-dir", writes=True)
def command(**values: Any) -> None:
    """Cut one subnet out of a base in closed form and write it as a bundle (-o DIR).

    With --subnet, exactly the net that was scored under that id; --base and --data then say where its base and images
    lie now, if they were moved.
    """
    output = output_from_flags(values, use_path=False)
    named, is_stored = _named_flags(), values["subnet"] is not None
    check_derive(values["arch"], subnet=values["subnet"], given=named)
    if values["output"] is None:
        raise NuwaError("derive needs a folder", hint="nuwa derive --arch FILE -o DIR")
    if not is_stored:
        require_demo(values["base"], data=values["data"])
    from nuwa_search.deploy.bundle import is_bundle
    from nuwa_search.search.derive.single import DerivedAgain

    folder = expanded(values["output"])
    if is_bundle(folder) and not confirmed(f"Replace the bundle in {folder}?", yes=values["yes"]):
        output.note("nothing derived")
        return
    names = [name for name in SOURCE if name in named] if is_stored else SOURCE
    source = cast("DeriveKeywords", {name: values[name] for name in names})
    with laboratory(values, say=output.note) as lab:
        answer = lab.derive(values["arch"], output=folder, subnet=values["subnet"], replace=True, **source)
    if isinstance(answer, DerivedAgain):
        _say_stored(answer, output)
    for lack in answer.missing:
        output.note(f"not there yet: {lack}")
    if output.json:
        output.document({"schema": "nuwa.derive/1", **answer.to_json()})
    else:
        output.table([{name: value for name, value in answer.to_json().items() if not isinstance(value, dict | list)}])


def _named_flags() -> set[str]:
    """List the flags that the user wrote on this line."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}


def _say_stored(answer: "DerivedAgain", output: Output) -> None:
    """Print how the scores of the cut weights differ from what the database has of the subnet."""
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
