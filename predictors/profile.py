"""Profile a device: fill its latency table, measure a few whole nets, fit, and report."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import Device, DeviceSpec, MeasureProtocol
from nuwa_search.core.img_size import ImgSize, num_pixels_of
from nuwa_search.latency.table.axes import axes_of
from nuwa_search.latency.table.timer import ArchTimer, Export, MemoryNotebook, Notebook
from nuwa_search.latency.table.watch import Watch
from nuwa_search.predictors.fill_table import TablePlan, fill_table
from nuwa_search.predictors.latency.background import find_background
from nuwa_search.predictors.latency.predictor import MIN_MODELS, LatencyPredictor, subject_of
from nuwa_search.predictors.report_card import ReportCard, noise_floor, report_card
from nuwa_search.predictors.sample_archs import sample_archs
from nuwa_search.predictors.whole_models import ModelTimes, measure_models

DEFAULT_MINUTES = 12.0
"""What a profile of a real device takes unless told otherwise: well below a quarter of an hour."""

# When each step ends, as a share of the time: without rows there is no table, without whole nets to fit
# to no predictor, and without held-out nets nobody knows how good it is.
_ENDS = {"table": 0.55, "fit": 0.8, "heldout": 1.0}
SIZED_ONE_IN = 3
"""At each further image size, one in so many of the nets that are measured of the base's own."""
_EMULATED_REPEATS = 12
_REAL_REPEATS = 2
# Repeats of the base that tell how well a measurement repeats.
_REPEATS = 6
# Where repeats agree by luck (or by construction), rows are still not believed to better than this.
_FLOOR_SD = 0.002


@dataclass(frozen=True)
class ProfileSettings:
    """How much a profile measures.

    Args:
        num_fit: Whole nets to fit to.
        num_heldout: Whole nets for the report card, never fitted to.
        repeats: Measurements of each whole net fitted to; None for 12 on an emulated device, where each is
            taken in a session of its own and costs nothing, and 2 on a real one.
        heldout_repeats: Measurements of each held-out net, two of which tell the noise floor; None for as many
            as of those fitted to, but two.
        num_sessions: Sessions that the nets fitted to are spread over, and as many again for those held out, so
            that no session's offset gets into the scale.
        embed_dims: Widths of the residual stream that subnets may be cut to; empty for none.
        max_rows: Most rows of one kind of branch.
        minutes: Time to keep; None for as long as it takes on an emulated device, and for
            ``DEFAULT_MINUTES`` on a real one.
        coverage: Nominal coverage of the interval.
        seed: Seed of the choice of nets.
        img_sizes: Further, smaller sizes of the images in pixels at which subnets are to be predicted; a few rows, and
            a third as many whole nets, at each.
    """

    num_fit: int = 48
    num_heldout: int = 60
    repeats: int | None = None
    heldout_repeats: int | None = None
    num_sessions: int = 48
    embed_dims: tuple[int, ...] = ()
    max_rows: int = 120
    minutes: float | None = None
    coverage: float = 0.9
    seed: int = 0
    img_sizes: tuple[ImgSize, ...] = ()


@dataclass(frozen=True)
class ProfileResult:
    """What a profile leaves.

    Args:
        predictor: Fitted.
        report: On the held-out nets.
        rows_added: Rows measured by this run.
        models_measured: Whole nets that the predictor was fitted to.
        measurements: Measurements taken by this run.
        heldout: Held-out nets with their measured milliseconds.
        relative_sd: How well one measurement repeats.
        seconds: Duration of this run.
        by_size: Report on the held-out nets of each image size, where there are several; ``report`` is on all.
    """

    predictor: LatencyPredictor
    report: ReportCard
    rows_added: int
    models_measured: int
    measurements: int
    heldout: tuple[tuple[Arch, float], ...]
    relative_sd: float
    seconds: float
    by_size: Mapping[ImgSize, ReportCard] = field(default_factory=dict)


def profile(
    device: Device,
    base: Arch,
    *,
    export: Export,
    notebook: Notebook | None = None,
    reopen: Callable[[int], Device] | None = None,
    protocol: MeasureProtocol | None = None,
    settings: ProfileSettings | None = None,
    watch: Watch | None = None,
) -> ProfileResult:
    """Measure what is not known yet about subnets of ``base`` on ``device``, and fit a predictor.

    Killed at any moment and started again with the same notebook, it goes on where it was.

    Args:
        device: Open device to measure on.
        base: Whose subnets shall be predicted.
        export: Makes the ONNX model of an arch as the device takes it.
        notebook: What is known, and where new figures go; None for a fresh one in memory.
        reopen: Opens a further session with an emulated device, whose offset is drawn anew; None, and
            on real devices, whose offset a new connection does not change, one session does all.
        protocol: How to measure; None for the device's own.
        settings: How much; None for the defaults.
        watch: Who is told, and the clock that the minutes of ``settings`` are held against; None for nobody.

    Raises:
        NuwaError: If the device cannot take such nets.
        OutsideError: If the device failed; everything measured before is in the notebook.
    """
    watch, settings = watch or Watch(), settings or ProfileSettings()
    begun = watch.clock()
    is_emulated = device.spec.provenance == "emulated"
    notebook = notebook if notebook is not None else MemoryNotebook()
    keeps = ("reference", "probe") if is_emulated else ("reference", "probe", "chain")
    timer = ArchTimer(
        device,
        export=export,
        protocol=protocol,
        notebook=notebook,
        keeps=keeps,
        on_first=watch.on_first,
        clock=watch.clock,
    )
    sessions = _Sessions((timer,), (timer,))
    if reopen is not None and is_emulated:
        opened = [ArchTimer(reopen(k), export=export, protocol=protocol) for k in range(2 * settings.num_sessions)]
        sessions = _Sessions(tuple(opened[::2]), tuple(opened[1::2]))
    relative_sd = _repeatability(timer, base, notebook)
    ends = _deadlines(begun, minutes_of(settings, device.spec))
    rows_before = len(notebook.rows())
    _fill(base, timer, notebook, settings=settings, relative_sd=relative_sd, watch=watch.until(ends["table"]))
    fitted, heldout = _measure_nets(base, sessions, notebook, settings=settings, ends=ends, watch=watch)
    predictor = LatencyPredictor(
        notebook.rows(),
        subject=subject_of(device.spec, protocol_id=protocol.protocol_id if protocol else ""),
        coverage=settings.coverage,
        noise_sd=_mean_noise(fitted) if is_emulated else 0.0,
        common_sd=_noise(fitted) / math.sqrt(len(sessions.fit)) if is_emulated else 0.0,
        tokens=[arch.num_tokens for arch in _sized(base, settings)] if settings.img_sizes else (),
    ).fit([m.arch for m in fitted], [m.mean_ms for m in fitted])
    sizes = sorted({m.arch.img_size for m in heldout}, key=num_pixels_of) if settings.img_sizes else []
    by_size: dict[ImgSize, list[ModelTimes]] = {s: [m for m in heldout if m.arch.img_size == s] for s in sizes}
    return ProfileResult(
        predictor=predictor,
        report=_judged(predictor, heldout, is_emulated=is_emulated),
        rows_added=len(notebook.rows()) - rows_before,
        models_measured=len(fitted),
        measurements=sum(t.num_measured for t in {timer, *sessions.fit, *sessions.heldout}),
        heldout=tuple((m.arch, m.mean_ms) for m in heldout),
        relative_sd=relative_sd,
        seconds=watch.clock() - begun,
        by_size={size: _judged(predictor, nets, is_emulated=is_emulated) for size, nets in by_size.items()},
    )


def _judged(predictor: LatencyPredictor, heldout: Sequence[ModelTimes], *, is_emulated: bool) -> ReportCard:
    return report_card(
        predictor,
        [m.arch for m in heldout],
        np.array([m.mean_ms for m in heldout]),
        noise_floor_mape=noise_floor([m.latencies_ms for m in heldout]),
        reference_sd=_mean_noise(heldout) if is_emulated else 0.0,
    )


@dataclass(frozen=True)
class _Sessions:
    """Where whole nets are measured: those fitted to, and those held out."""

    fit: tuple[ArchTimer, ...]
    heldout: tuple[ArchTimer, ...]


def _fill(
    base: Arch,
    timer: ArchTimer,
    notebook: Notebook,
    *,
    settings: ProfileSettings,
    relative_sd: float,
    watch: Watch,
) -> None:
    """Probe what keeps the device busy, and fill the table of subnets of ``base``."""
    axes = axes_of(base, embed_dims=settings.embed_dims)
    smallest = BlockSpec(axes.num_heads[0], axes.qk_dims[0], axes.v_dims[0], axes.mlp_widths[0])
    background = find_background(timer, base=base, smallest=smallest, relative_sd=relative_sd)
    fill_table(
        TablePlan(axes, max_rows=settings.max_rows, img_sizes=settings.img_sizes),
        base=base,
        timer=timer,
        notebook=notebook,
        background=background,
        relative_sd=relative_sd,
        watch=watch,
    )


def _measure_nets(
    base: Arch,
    sessions: _Sessions,
    notebook: Notebook,
    *,
    settings: ProfileSettings,
    ends: Mapping[str, float | None],
    watch: Watch,
) -> tuple[list[ModelTimes], list[ModelTimes]]:
    """Measure whole nets to fit to, then nets that are held out."""
    fit_archs, heldout_archs = _choose_models(base, settings)
    is_emulated = sessions.fit[0].device.spec.provenance == "emulated"
    repeats = settings.repeats or (_EMULATED_REPEATS if is_emulated else _REAL_REPEATS)
    fitted = measure_models(
        fit_archs, role="fit", sessions=sessions.fit, notebook=notebook, repeats=repeats, watch=watch.until(ends["fit"])
    )
    heldout = measure_models(
        heldout_archs,
        role="heldout",
        sessions=sessions.heldout,
        notebook=notebook,
        repeats=settings.heldout_repeats or max(2, repeats),
        watch=watch.until(ends["heldout"]),
    )
    return fitted, heldout


def minutes_of(settings: ProfileSettings, spec: DeviceSpec) -> float | None:
    """Return how many minutes a profile may take; None where it takes what it needs, as on emulated devices."""
    if settings.minutes is None and spec.provenance != "emulated":
        return DEFAULT_MINUTES
    return settings.minutes


def _repeatability(timer: ArchTimer, base: Arch, notebook: Notebook) -> float:
    """Measure the base a few times, as far as that is not known yet: the relative spread."""
    known = [m for arch, m in notebook.models() if m.state.get("role") == "reference" and arch.arch_id == base.arch_id]
    medians = [m.latency_ms.median for m in known]
    while len(medians) < _REPEATS:
        medians.append(timer.measure(base, fresh=True, role="reference").latency_ms.median)
    if medians and len(known) < _REPEATS:
        timer.release(base)
    return max(float(np.std(medians, ddof=1) / np.mean(medians)), _FLOOR_SD)


def _choose_models(base: Arch, settings: ProfileSettings) -> tuple[list[Arch], list[Arch]]:
    """Draw nets to fit to and to hold out; at further image sizes a quarter as many, in turn with the base's."""
    rng = np.random.default_rng(settings.seed)
    drawn = sample_archs(base, rng, settings.num_fit + settings.num_heldout, embed_dims=settings.embed_dims)
    fit, heldout = [drawn[: settings.num_fit]], [drawn[settings.num_fit :]]
    num_fit, num_heldout = (max(2, count // SIZED_ONE_IN) for count in (settings.num_fit, settings.num_heldout))
    for sized in _sized(base, settings)[1:]:
        more = sample_archs(sized, rng, num_fit + num_heldout, embed_dims=settings.embed_dims)
        fit.append(more[:num_fit])
        heldout.append(more[num_fit:])
    return _in_turn(fit), _in_turn(heldout)


def _sized(base: Arch, settings: ProfileSettings) -> list[Arch]:
    """List the base at every image size, its own first."""
    return [base, *(replace(base, img_size=size) for size in settings.img_sizes)]


def _in_turn(lists: Sequence[list[Arch]]) -> list[Arch]:
    """Take what a predictor of the base's own size needs, then one of each list after another.

    Where the time ends early, the own size is known, and the others have had their share.
    """
    first, *others = lists
    rows = itertools.zip_longest(first[MIN_MODELS:], *others)
    return [*first[:MIN_MODELS], *(arch for row in rows for arch in row if arch is not None)]


def _deadlines(begun: float, minutes: float | None) -> dict[str, float | None]:
    """Share the time out; what a step leaves is the next one's."""
    if minutes is None:
        return dict.fromkeys(_ENDS)
    return {step: begun + 60 * minutes * share for step, share in _ENDS.items()}


def _noise(models: Sequence[ModelTimes]) -> float:
    """Estimate the relative noise of one measurement, its session's included, from the nets' repeats."""
    variances = [float(np.var(np.log(m.latencies_ms), ddof=1)) for m in models if len(m.latencies_ms) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else 0.0


def _mean_noise(models: Sequence[ModelTimes]) -> float:
    """Estimate the relative noise of the nets' mean latencies."""
    return _noise(models) / math.sqrt(np.mean([len(m.latencies_ms) for m in models])) if models else 0.0
