import time
from collections.abc import Sequence

import onnx
import pytest

from nuwa_search.core.device import Measurement, MeasureProtocol
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.latency.table.axes import axes_of, mlp_keys
from nuwa_search.latency.table.build import measure_rows
from nuwa_search.latency.table.chain import frame_of
from nuwa_search.latency.table.row import TableRow, dict_from_row, row_from_dict, table_id
from nuwa_search.latency.table.timer import ArchTimer, MemoryNotebook
from nuwa_search.latency.table.unit import BlockKey, UnitKey, context_of, stem_of
from nuwa_search.latency.table.watch import Watch
from tests.support.closed_form_device import BASE, ClosedFormDevice, Formula, export

KEYS: list[UnitKey] = [stem_of(BASE), *mlp_keys(axes_of(BASE), [context_of(BASE)])[::8]]


def measured(
    device: ClosedFormDevice, notebook: MemoryNotebook, keys: Sequence[UnitKey] = KEYS, *, watch: Watch | None = None
) -> list[TableRow]:
    timer = ArchTimer(device, export=export)
    return measure_rows(keys, timer=timer, notebook=notebook, frame=frame_of(BASE), relative_sd=0.001, watch=watch)


def test_slopes_are_the_time_of_one_block() -> None:
    formula = Formula()
    notebook = MemoryNotebook()
    rows = measured(ClosedFormDevice(formula), notebook)
    stem, *blocks = rows
    assert stem.latency_ms == pytest.approx(formula.stem_ms)
    for row in blocks:
        assert isinstance(row.key, BlockKey)
        assert row.latency_ms == pytest.approx(formula.work(BASE, row.key.block)[1])
        assert row.sd_ms > 0


def test_a_killed_run_loses_nothing_and_repeats_nothing() -> None:
    notebook = MemoryNotebook()

    class Dying(ClosedFormDevice):
        def measure(self, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
            if len(self.measured) == 7:
                raise OutsideError("the board is gone")
            return super().measure(model, protocol=protocol)

    dying = Dying(Formula())
    with pytest.raises(OutsideError):
        measured(dying, notebook)
    kept = notebook.rows()
    assert len(kept) == 4  # one stem and three blocks of two chains each
    again = ClosedFormDevice(Formula())
    added = measured(again, notebook)
    assert [r.key for r in (*kept, *added)] == KEYS
    assert not set(dying.measured) & set(again.measured)
    assert measured(ClosedFormDevice(Formula()), notebook) == []


def test_no_row_is_begun_after_the_deadline() -> None:
    assert measured(ClosedFormDevice(Formula()), MemoryNotebook(), watch=Watch(deadline=time.monotonic() - 1)) == []


def test_progress_counts_rows() -> None:
    seen = []
    measured(ClosedFormDevice(Formula()), MemoryNotebook(), watch=Watch(progress=lambda *step: seen.append(step)))
    assert seen[-1] == ("latency table", len(KEYS), len(KEYS))


def test_rows_survive_json_and_the_id_ignores_their_order() -> None:
    rows = measured(ClosedFormDevice(Formula()), MemoryNotebook())
    back = [row_from_dict(dict_from_row(row)) for row in rows]
    assert back == rows
    assert table_id(back[::-1]) == table_id(rows)
    assert table_id(rows[1:]) != table_id(rows)


@pytest.mark.parametrize("change", [{"provenance": "guessed"}, {"latency_ms": "fast"}, {"key": {"kind": "attn"}}])
def test_damaged_rows_are_refused(change: dict[str, object]) -> None:
    (row,) = measured(ClosedFormDevice(Formula()), MemoryNotebook(), keys=KEYS[:1])
    with pytest.raises(NuwaError):
        row_from_dict(dict_from_row(row) | change)
