"""Profile a device by transfer: ten nets measured, another device's predictor scaled to them."""

from dataclasses import dataclass

import numpy as np

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import Device, MeasureProtocol
from nuwa_search.latency.table.timer import ArchTimer, Export, MemoryNotebook, Notebook
from nuwa_search.latency.table.watch import Watch
from nuwa_search.predictors.latency.predictor import LatencyPredictor, subject_of
from nuwa_search.predictors.latency.transfer import (
    MAX_MEASUREMENTS,
    TransferStep,
    choose_nets,
    transfer,
    transfer_curve,
)
from nuwa_search.predictors.sample_archs import sample_archs
from nuwa_search.predictors.whole_models import measure_models

# Nets that the ten are chosen from: enough to reach both ends of the range of latencies.
_POOL = 200


@dataclass(frozen=True)
class TransferResult:
    """What a profile by transfer leaves.

    Args:
        predictor: Provenance ``transferred``.
        curve: Error against the number of measurements, on measured nets left out.
        models_measured: Nets measured on the device.
    """

    predictor: LatencyPredictor
    curve: tuple[TransferStep, ...]
    models_measured: int


@dataclass(frozen=True)
class TransferSettings:
    """What a transfer measures.

    Args:
        embed_dims: Widths of the residual stream that subnets may be cut to.
        num_models: Nets to measure, 3 to 10.
        seed: Seed of the choice of nets.
    """

    embed_dims: tuple[int, ...] = ()
    num_models: int = MAX_MEASUREMENTS
    seed: int = 0


def profile_by_transfer(
    device: Device,
    base: Arch,
    *,
    source: LatencyPredictor,
    export: Export,
    notebook: Notebook | None = None,
    protocol: MeasureProtocol | None = None,
    settings: TransferSettings | None = None,
    watch: Watch | None = None,
) -> TransferResult:
    """Measure a few subnets of ``base`` on ``device`` and scale ``source`` to them.

    Args:
        device: The new device.
        base: Whose subnets shall be predicted; ``source`` must have been profiled for such.
        source: Predictor of the known device.
        export: Makes the ONNX model of an arch as the new device takes it.
        notebook: What is known, and where new figures go; None for a fresh one in memory.
        protocol: How to measure; None for the device's own.
        settings: Which nets, and how many; None for the defaults.
        watch: Who is told, and when only the nets that a transfer cannot do without are measured; None for nobody and
            never.

    Raises:
        NuwaError: If ``source`` lacks rows for such nets, or the device cannot take them.
        OutsideError: If the device failed; what was measured is in the notebook.
    """
    settings, watch = settings or TransferSettings(), watch or Watch()
    pool = sample_archs(base, np.random.default_rng(settings.seed), _POOL, embed_dims=settings.embed_dims)
    measured = measure_models(
        choose_nets(source, pool, count=settings.num_models),
        role="fit",
        sessions=[ArchTimer(device, export=export, protocol=protocol, on_first=watch.on_first, clock=watch.clock)],
        notebook=notebook if notebook is not None else MemoryNotebook(),
        repeats=1,
        watch=watch,
    )
    archs, latencies_ms = [m.arch for m in measured], [m.mean_ms for m in measured]
    subject = subject_of(device.spec, protocol_id=protocol.protocol_id if protocol else "")
    return TransferResult(
        predictor=transfer(source, archs, latencies_ms, subject=subject),
        curve=tuple(transfer_curve(source, archs, latencies_ms, subject=subject)),
        models_measured=len(measured),
    )
