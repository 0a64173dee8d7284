"""The `nuwa.profile/1` answer, put together from what a profile left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from nuwa_search.core.device import device_json
from nuwa_search.core.img_size import size_words
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.latency.table.kit import KitResults
from nuwa_search.predictors.device_predictor import DevicePredictor
from nuwa_search.predictors.latency.transfer import TransferStep
from nuwa_search.predictors.report_card import ReportCard
from nuwa_search.predictors.transfer_profile import TransferResult


@dataclass(frozen=True)
class TablePart:
    """The latency table behind a predictor: its id, rows, and rows that were added now."""

    id: str
    rows: int
    added: int


@dataclass(frozen=True, kw_only=True)
class ProfileAnswer(JsonFields):
    """What a profile came to: the `nuwa.profile/1` answer.

    Args:
        schema: Of the document.
        device: Its part of the answer.
        predictor_id: The saved predictor.
        table: Behind it.
        models_measured: Whole nets; None where the predictor was there already.
        measurements: All of them, with the table's; None where they were taken elsewhere.
        seconds: Seconds of the profile; None likewise.
        report: Of its own profile only.
        report_by_size: The same of each image size apart, where there are several.
        missing: Nets of a kit that came back without a figure.
        transferred_from: Device whose predictor was scaled.
        curve: How the transfer got better with each net.
    """

    LEFT_OUT: ClassVar = (
        *("models_measured", "measurements", "seconds", "report"),
        *("missing", "transferred_from", "curve", "report_by_size"),
    )

    schema: str = "nuwa.profile/1"
    device: Mapping[str, object]
    predictor_id: str
    table: TablePart
    models_measured: int | None = None
    measurements: int | None = None
    seconds: float | None = None
    report: ReportCard | None = None
    report_by_size: Mapping[str, Mapping[str, object]] | None = None
    missing: tuple[str, ...] | None = None
    transferred_from: str | None = None
    curve: Sequence[TransferStep] | None = None


def answer_of_profile(start: DevicePredictor) -> ProfileAnswer:
    """Make the answer for a device that was profiled, now or before."""
    result = start.profiled
    head = _head(start, added=result.rows_added if result else 0)
    if result is None:
        return head
    return replace(
        head,
        models_measured=result.models_measured,
        measurements=result.measurements,
        seconds=round(result.seconds, 1),
        report=result.report,
        report_by_size={size_words(size): card.to_json() for size, card in result.by_size.items()} or None,
    )


def answer_of_kit(start: DevicePredictor, found: KitResults) -> ProfileAnswer:
    """Make the answer for a kit that was read back."""
    return replace(_head(start), models_measured=len(found.models), missing=tuple(found.missing))


def answer_of_transfer(start: DevicePredictor, moved: TransferResult, *, source: str) -> ProfileAnswer:
    """Make the answer for a predictor that was scaled from another device's."""
    return replace(
        _head(start), models_measured=moved.models_measured, transferred_from=source, curve=tuple(moved.curve)
    )


def _head(start: DevicePredictor, *, added: int = 0) -> ProfileAnswer:
    """Make the part of an answer that names device, predictor and table."""
    table = TablePart(start.predictor.table_id, len(start.predictor.rows), added)
    return ProfileAnswer(device=device_json(start.spec), predictor_id=start.predictor_id, table=table)
