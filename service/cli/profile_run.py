"""Profile a device: measure what its table lacks, read a kit's results, or transfer another device's predictor."""

import math
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.base import Base
from nuwa_search.core.device import PROTOCOL, DeviceSpec
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.latency.devices.find import find_device
from nuwa_search.latency.table.kit import write_kit
from nuwa_search.predictors.kit_plan import nets_of, plan_kit
from nuwa_search.predictors.latency.transfer import MAX_MEASUREMENTS
from nuwa_search.predictors.profile import ProfileSettings
from nuwa_search.service.cli.confirm import confirmed
from nuwa_search.service.cli.output import Output
from nuwa_search.service.workflow.device_predictor import (
    Progress,
    exporter_of,
    kit_profile,
    run_profile,
    transfer_profile,
)
from nuwa_search.service.workflow.first_day import (
    ProfileCost,
    ProfileRest,
    known_build_s,
    table_rest,
    transfer_rest,
    transfer_source,
)
from nuwa_search.service.workflow.profile_answer import (
    ProfileAnswer,
    answer_of_kit,
    answer_of_profile,
    answer_of_transfer,
)
from nuwa_search.store.store import Store


def profile_device(
    store: Store,
    spec: DeviceSpec,
    base: Base,
    values: Mapping[str, Any],
    settings: ProfileSettings,
    progress: Progress,
    output: Output,
) -> ProfileAnswer:
    """Profile the way that the flags name, and return the `nuwa.profile/1` answer.

    A board over SSH takes its predictor from its emulated sibling unless ``--minutes`` says how long a table of its
    own may take; in both cases the cost is said once the first engine was timed.
    """
    if values["import"]:
        start, found = kit_profile(store, spec, base.arch, folder=Path(values["import"]))
        return answer_of_kit(start, found)
    is_board = spec.kind == "ssh"
    asker = _Asker(store, spec, values, output)
    if values["from"]:
        source = find_device(values["from"], store)
    elif is_board and settings.minutes is None:
        source = transfer_source(store, spec, base.arch)
        output.note(
            f"{spec.name} takes its predictor from {source.name} (emulated, the same GPU generation), scaled to at "
            f"most {MAX_MEASUREMENTS} whole nets measured here; --minutes N measures a table of its own instead"
        )
    else:
        on_first = asker.on_first(table_rest(store, spec, base.arch, settings=settings)) if is_board else None
        start = run_profile(store, spec, base.arch, settings=settings, progress=progress, on_first=on_first)
        return answer_of_profile(start)
    start, moved = transfer_profile(
        store,
        spec,
        base.arch,
        source=source,
        minutes=settings.minutes,
        progress=progress,
        on_first=asker.on_first(transfer_rest(store, spec, base.arch, minutes=settings.minutes)) if is_board else None,
    )
    return answer_of_transfer(start, moved, source=source.name)


@dataclass(frozen=True)
class _Asker:
    """Says what the rest of a profile costs and asks, unless ``-y``; off a terminal ``--minutes`` answers."""

    store: Store
    spec: DeviceSpec
    values: Mapping[str, Any]
    output: Output

    def on_first(self, rest: ProfileRest) -> Callable[[float], None] | None:
        """Ask now where an earlier build told how long one takes, else once the first one has."""
        known_s = known_build_s(self.store, self.spec)
        if known_s is None:
            return lambda first_s: self.ask(rest.after_first(first_s))
        self.ask(rest.cost(known_s))
        return None

    def ask(self, cost: ProfileCost) -> None:
        if cost.num_engines == 0:
            return
        name = self.spec.name
        self.output.note(cost.words(name))
        if not cost.fits:
            least = math.ceil(cost.num_engines * cost.first_s / 60)
            raise NuwaError(
                f"{cost.minutes:g} minutes do not hold the {cost.num_engines} engines that are still needed",
                hint=f"nuwa profile {name} --minutes {least} or more; leave --minutes out for a transfer, which needs "
                f"{MAX_MEASUREMENTS}",
            )
        is_alone = sys.stdin is None or not sys.stdin.isatty()
        if is_alone and cost.minutes is not None:
            return
        if not confirmed(f"Measure the {cost.num_engines} nets that are left now?", yes=self.values["yes"]):
            raise NoAnswerError(
                "stopped before the next net; what was measured is kept", hint=f"nuwa profile {name} goes on from there"
            )


def write_kit_files(folder: Path, base: Base, spec: DeviceSpec, output: Output) -> None:
    """Write ONNX files and a script for a board without SSH, and say what to do with them."""
    nets = nets_of(plan_kit(base.arch), base=base.arch)
    files = write_kit(folder, nets, spec=spec, protocol=PROTOCOL, export=exporter_of(spec))
    output.text(f"{len(files)} ONNX files and one script in {folder}")
    back = f"nuwa profile {spec.name} --import {shlex.quote(str(folder))}"
    output.note(f"copy it to the board, run the script there, copy it back, then: {back}")
