"""Profile a device: measure what its table lacks, read a kit's results, or transfer another device's predictor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nuwa_search.core.base import Base
from nuwa_search.core.device import PROTOCOL, DeviceSpec
from nuwa_search.latency.table.kit import write_kit
from nuwa_search.predictors.kit_plan import nets_of, plan_kit
from nuwa_search.predictors.profile import ProfileSettings
from nuwa_search.service.cli.output import Output
from nuwa_search.service.workflow.device_predictor import (
    Progress,
    exporter_of,
    kit_profile,
    run_profile,
    transfer_profile,
)
from nuwa_search.service.workflow.devices import find_device
from nuwa_search.service.workflow.profile_answer import head_json, profile_json
from nuwa_search.store.store import Store


def profile_device(
    store: Store,
    spec: DeviceSpec,
    base: Base,
    values: Mapping[str, Any],
    settings: ProfileSettings,
    progress: Progress,
) -> dict[str, Any]:
    """Profile the way that the flags name, and return the `nuwa.profile/1` answer."""
    if values["from"]:
        source = find_device(values["from"], store)
        start, moved = transfer_profile(store, spec, base.arch, source=source, progress=progress)
        curve = [vars(step) for step in moved.curve]
        return head_json(start) | {
            "models_measured": moved.models_measured,
            "transferred_from": source.name,
            "curve": curve,
        }
    if values["import"]:
        start, found = kit_profile(store, spec, base.arch, folder=Path(values["import"]))
        return head_json(start) | {"models_measured": len(found.models), "missing": list(found.missing)}
    start = run_profile(store, spec, base.arch, settings=settings, progress=progress)
    return profile_json(start)


def write_kit_files(folder: Path, base: Base, spec: DeviceSpec, output: Output) -> None:
    """Write ONNX files and a script for a board without SSH, and say what to do with them."""
    nets = nets_of(plan_kit(base.arch), base=base.arch)
    files = write_kit(folder, nets, spec=spec, protocol=PROTOCOL, export=exporter_of(spec))
    output.text(f"{len(files)} ONNX files and one script in {folder}")
    output.note(
        f"copy it to the board, run the script there, copy it back, then: nuwa profile {spec.name} --import {folder}"
    )
