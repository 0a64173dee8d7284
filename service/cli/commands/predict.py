"""``nuwa predict``: latency of an arch, or of boards that answer together, without touching a device."""

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from nuwa_search.core.errors import NuwaError
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.figures import interval
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import Output, output_from_flags

if TYPE_CHECKING:
    from nuwa_search.lab.predict_collaboration import CollaborationPrediction

SHOWN = ("arch_id", "predicted_latency_ms", "predicted_interval_ms", "coverage")
OF_ONE = ("device", "base", "predictor", "img_size")


@click.command("predict", cls=NuwaCommand)
@click.argument("arch")
@with_flags("device", "base", "predictor", "img-size", "network", defaults={"base": None})
def command(arch: str, **values: Any) -> None:
    """Predict the latency of ARCH: an arch id, an arch JSON file, a bundle, a base, or a collaboration.

    For an emulated device missing table rows are built first; for a real one the answer names the
    command that measures them. --img-size asks for the same net at a smaller image. A collaboration is a folder of
    `nuwa decompose` or its study, and --network the network between its boards.
    """
    output = output_from_flags(values)
    with laboratory(values, say=output.note) as lab:
        from nuwa_search.deploy.collaborate.folder import collaboration_folder

        folder = collaboration_folder(arch, lab.store)
        if folder is not None:
            _refuse_typed(OF_ONE, f"{arch} is a collaboration, whose boards are named in it", hint="leave --{flag} out")
            _show(lab.predict_collaboration(folder, network=values["network"]), output)
            return
        _refuse_typed(("network",), f"{arch} is no collaboration", hint="leave --{flag} out")
        found = lab.predict(arch, **{name: values[name] for name in OF_ONE})
    answer = found.to_json()
    if output.json:
        output.document(answer)
        return
    if found.board_interval_ms is not None:
        output.note(f"emulated; a real board: {interval(found.board_interval_ms)} ms")
    row = {"device": found.device["name"], "provenance": found.provenance}
    output.table([row | {name: answer[name] for name in SHOWN}])


def _refuse_typed(names: tuple[str, ...], message: str, *, hint: str) -> None:
    """Refuse flags that the user typed and that say nothing here.

    Raises:
        NuwaError: If one was typed.
    """
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise NuwaError(message, hint=hint.format(flag=name.replace("_", "-")))


def _show(found: "CollaborationPrediction", output: Output) -> None:
    if output.json:
        output.document(found.to_json())
        return
    output.table([way.to_json() for way in found.modes])
    output.note(f"sub-models {found.provenance}; network {found.network.provenance}")
    if found.budget_ms is not None and found.is_within_budget is not None:
        keeps = "is kept" if found.is_within_budget else "is missed"
        output.note(f"the budget of {found.budget_ms:g} ms {keeps} by {found.modes[0].mode}")
    for way in found.modes:
        if way.predicted_mean_ms is None:
            output.note("this folder does not say whom routed images are asked of: nuwa decompose writes it anew")
