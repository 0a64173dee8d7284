"""``nuwa finetune``: fine-tune a bundle's model with distillation from its base."""

from pathlib import Path
from typing import Any

import click

from nuwa.settings import default_cache_dir
from service.cli.command import NuwaCommand
from service.cli.flags import with_flags
from service.cli.output import output_from_flags
from service.cli.progress import ProgressLine

INTERRUPTED = 130


@click.command("finetune", cls=NuwaCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@with_flags("base", "data", "label-column", "finetune-epochs", "finetune-steps", "resume", "cache-dir", writes=True)
def command(folder: Path, **values: Any) -> int:
    """Fine-tune bundle FOLDER with its base as teacher; its export is then out of date and removed."""
    output = output_from_flags(values)
    from service.cli.search_view import SearchWatch
    from service.workflow.finetune import finetune_bundle

    with ProgressLine(enabled=output.shows_progress) as line:
        try:
            answer = finetune_bundle(
                folder,
                base=values["base"],
                data=values["data"],
                label_column=values["label_column"],
                steps=values["finetune_steps"],
                epochs=values["finetune_epochs"],
                seed=values["seed"],
                resume=values["resume"],
                cache_dir=Path(values["cache_dir"] or default_cache_dir()),
                hooks=SearchWatch(line, trials=0).hooks(),
            )
        except KeyboardInterrupt:
            line.clear()
            output.note(f"\ninterrupted; a checkpoint is saved. To go on:\n  nuwa finetune {folder} --resume")
            return INTERRUPTED
    if output.json:
        output.document({"schema": "nuwa.finetune/1", **answer})
    else:
        output.table([answer])
        output.note(f"next: nuwa export {folder} --device jetson-nano")
    return 0
