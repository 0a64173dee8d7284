"""``nuwa base``: train, evaluate and list base ViTs."""

import shlex
from pathlib import Path
from typing import Any

import click

from nuwa_search.core.documents import json_from_text
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.img_size import img_size_from_text, json_from_img_size
from nuwa_search.service.cli.again import command_to_go_on
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.commands.evaluate import command as evaluate_command
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags
from nuwa_search.service.cli.progress import current_line

INTERRUPTED = 130


@click.group()
def command() -> None:
    """Train, evaluate and list base ViTs."""


@command.command("ls", cls=NuwaCommand)
@with_flags()
def ls(**values: Any) -> None:
    """List the bases that need no name lookup: our own, and folders here in timm's or transformers' layout.

    Folders of other models, and a base whose package is not installed, are left out with a word.
    """
    output = output_from_flags(values)
    from nuwa_search.core.base import ASSETS_DIR
    from nuwa_search.core.base_folder import facts_of_folder
    from nuwa_search.core.checkpoint_files import WEIGHT_FILES, find_weights, size_of_checkpoint
    from nuwa_search.core.demo_base import demo_base_facts
    from nuwa_search.core.source_name import DEMO_BASE, PACKAGED_BASE

    folders = [(PACKAGED_BASE, ASSETS_DIR / "base")]
    configs = (p.parent for p in Path().glob("*/config.json"))
    here = sorted(p for p in configs if any((p / name).is_file() for name in WEIGHT_FILES))
    rows: list[dict[str, Any]] = []
    try:
        rows.append({"name": DEMO_BASE, **demo_base_facts()})
    except NuwaError as error:
        output.note(f"{error.message}. {error.hint}")
    for name, folder in [*folders, *((f"./{p}", p) for p in here)]:
        try:
            facts = facts_of_folder(folder)
        except NuwaError as error:
            output.note(f"{name} is left out: {error.message}")
            continue
        rows.append(
            {
                "name": name,
                **facts,
                "size_mb": round(size_of_checkpoint(find_weights(folder)) / 1e6, 1),
            }
        )
    if output.json:
        output.document({"schema": "nuwa.base/1", "bases": rows})
    else:
        output.table(rows)


@command.command("train", cls=NuwaCommand)
@click.option("--model", default="vit_tiny_patch16_224", show_default=True, help="timm VisionTransformer to train.")
@click.option(
    "--model-arg", "model_args", multiple=True, metavar="NAME=VALUE", help="timm argument, such as img_size=80."
)
@click.option("--pretrained", is_flag=True, help="Start from timm's weights.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimiser steps.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per step.")
@with_flags("data", "label-column", "minutes", "resume", writes=True)
def train(model: str, model_args: tuple[str, ...], pretrained: bool, **values: Any) -> int:
    """Train or fine-tune a base on --data and write it to -o DIR in timm's hub format."""
    output = output_from_flags(values, use_path=False)
    if values["data"] is None or values["output"] is None:
        raise NuwaError("training needs images and a folder", hint="nuwa base train --data PATH -o DIR")
    from nuwa_search.deploy.train.base_config import BaseDesign
    from nuwa_search.deploy.train.base_from_data import BaseTrainRequest, train_base_from
    from nuwa_search.service.cli.search_view import SearchWatch

    folder = expanded(values["output"])
    line = current_line()
    try:
        design = BaseDesign(model, pretrained=pretrained, model_args=dict(_parse_arg(text) for text in model_args))
        answer = train_base_from(
            BaseTrainRequest(
                values["data"],
                design,
                label_column=values["label_column"],
                steps=values["steps"],
                batch_size=values["batch_size"],
                minutes=values["minutes"],
                seed=values["seed"],
            ),
            folder=folder,
            resume=values["resume"],
            progress=SearchWatch(line, trials=0).hooks().finetune,
        )
    except KeyboardInterrupt:
        line.end()
        go_on = command_to_go_on(["nuwa", "base", "train"], leave_out=["resume"], add=["--resume"])
        output.note(f"\ninterrupted; what was trained is saved. To go on:\n  {go_on}")
        return INTERRUPTED
    for note in answer.notes:
        output.note(note)
    if output.json:
        output.document({"schema": "nuwa.base-train/1", **answer.to_json()})
    else:
        output.table([{name: value for name, value in answer.to_json().items() if name != "notes"}])
    return 0


@command.command("import", cls=NuwaCommand)
@click.argument("file", metavar="FILE.onnx")
@with_flags("img-size", writes=True)
def import_(file: str, **values: Any) -> int:
    """Make a base folder of the plain ViT (ViT, DeiT, DINOv2) inside an ONNX export, proven against the graph.

    Whatever hangs behind the ViT, such as a decoder, is left out; so is a classifier: a search fits a head on your
    classes. The graph does not tell how its images were normalised: ImageNet's mean and deviation are written, and
    can be changed in the folder's config.json.
    """
    output = output_from_flags(values, use_path=False)
    if values["output"] is None:
        raise NuwaError("an import needs a folder", hint="nuwa base import FILE.onnx -o DIR")
    current_line().step("reading the graph")
    from nuwa_search.deploy.train.import_base import dict_from_imported, import_onnx_base

    imported = import_onnx_base(expanded(file), expanded(values["output"]), img_size=values["img_size"])
    if output.json:
        output.document({"schema": "nuwa.base-import/1", **dict_from_imported(imported)})
        return 0
    output.table([dict_from_imported(imported)])
    output.note("mean and deviation of its images are ImageNet's: the graph does not tell; see config.json")
    output.note(f"next: nuwa-search --budget-ms 30 --base {shlex.quote(str(imported.dir))} --data PATH")
    return 0


command.add_command(evaluate_command, "evaluate")


def _parse_arg(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise NuwaError(f"wanted NAME=VALUE for --model-arg, found {text!r}", hint="such as --model-arg img_size=64")
    if name == "img_size" and not value.startswith("["):
        return name, json_from_img_size(img_size_from_text(value, "--model-arg img_size"))
    try:
        return name, json_from_text(value, what="the value of --model-arg")
    except NuwaError:  # a word, such as avg
        return name, value
