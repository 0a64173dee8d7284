"""Profile a device: measure its table, transfer another device's predictor, or read a kit's results."""

from collections.abc import Callable
from pathlib import Path

from nuwa_search.core.base import load_base
from nuwa_search.core.device import PROTOCOL, DeviceSpec
from nuwa_search.core.img_size import ImgSize
from nuwa_search.lab.profile_request import ProfileRequest
from nuwa_search.latency.devices.find import find_device
from nuwa_search.latency.table.kit import KitFile, write_kit
from nuwa_search.predictors.device_predictor import (
    Progress,
    exporter_of,
    kit_profile,
    run_profile,
    transfer_profile,
)
from nuwa_search.predictors.first_day import (
    ProfileCost,
    ProfileRest,
    known_build_s,
    table_rest,
    transfer_rest,
    transfer_source,
)
from nuwa_search.predictors.kit_plan import nets_of, plan_kit
from nuwa_search.predictors.latency.transfer import MAX_MEASUREMENTS
from nuwa_search.predictors.profile import ProfileSettings
from nuwa_search.predictors.profile_answer import (
    ProfileAnswer,
    answer_of_kit,
    answer_of_profile,
    answer_of_transfer,
)
from nuwa_search.search.img_sizes import sizes_to_profile
from nuwa_search.store.store import Store

OnCost = Callable[[ProfileCost], None]
"""Told what the rest of a board's profile costs, once that is known; what it raises stops there, with all saved."""


def profile(
    store: Store,
    spec: DeviceSpec,
    request: ProfileRequest,
    *,
    progress: Progress | None,
    on_cost: OnCost | None,
    say: Callable[[str], None],
) -> ProfileAnswer:
    """Give a device its latency predictor, in the way that the request names.

    A board over SSH takes its predictor from its emulated sibling unless ``minutes`` says how long a table of its
    own may take; in both cases ``on_cost`` is told the cost once the first engine was timed.

    Args:
        store: The database.
        spec: The device.
        request: How.
        progress: Told each count.
        on_cost: Told what the rest costs; None goes on.
        say: Told which way was taken, where the request does not name it.

    Raises:
        NuwaError: If the request cannot be met, such as with too few nets in a kit.
        OutsideError: If the device failed; what was measured is saved.
    """
    base = load_base(request.base, img_size=request.img_size).arch
    if request.import_ is not None:
        start, found = kit_profile(store, spec, base, folder=Path(request.import_))
        return answer_of_kit(start, found)
    is_board = spec.kind == "ssh"
    sizes = sizes_to_profile(base, asked=request.img_sizes)
    settings = ProfileSettings(minutes=request.minutes, seed=request.seed, img_sizes=sizes)
    if request.from_ is not None:
        source = find_device(request.from_, store)
    elif is_board and request.minutes is None:
        source = transfer_source(store, spec, base)
        say(
            f"{spec.name} takes its predictor from {source.name} (emulated, the same GPU generation), scaled to at "
            f"most {MAX_MEASUREMENTS} whole nets measured here; --minutes N measures a table of its own instead"
        )
    else:
        rest = table_rest(store, spec, base, settings=settings) if is_board else None
        start = run_profile(
            store, spec, base, settings=settings, progress=progress, on_first=_on_first(store, spec, rest, on_cost)
        )
        return answer_of_profile(start)
    rest = transfer_rest(store, spec, base, minutes=request.minutes) if is_board else None
    start, moved = transfer_profile(
        store,
        spec,
        base,
        source=source,
        minutes=request.minutes,
        progress=progress,
        on_first=_on_first(store, spec, rest, on_cost),
    )
    return answer_of_transfer(start, moved, source=source.name)


def write_kit_of(folder: Path, base: str, spec: DeviceSpec, *, img_size: ImgSize | None) -> list[KitFile]:
    """Write ONNX files and a script for a board without SSH; return the files.

    Args:
        folder: New or empty.
        base: Whose subnets are measured.
        spec: The board's device.
        img_size: Side of the images in pixels; None for the base's own.
    """
    arch = load_base(base, img_size=img_size).arch
    nets = nets_of(plan_kit(arch), base=arch)
    return list(write_kit(folder, nets, spec=spec, protocol=PROTOCOL, export=exporter_of(spec)))


def _on_first(
    store: Store, spec: DeviceSpec, rest: ProfileRest | None, on_cost: OnCost | None
) -> Callable[[float], None] | None:
    """Tell the cost now where an earlier build told how long one takes, else once the first one has."""
    if rest is None or on_cost is None:
        return None
    known_s = known_build_s(store, spec)
    if known_s is None:
        return lambda first_s: on_cost(rest.after_first(first_s))
    on_cost(rest.cost(known_s))
    return None
