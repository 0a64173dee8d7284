"""Lend a database the profile of another one, so that a test of an old study need not measure a table."""

from pathlib import Path

from nuwa_search.core.device import PROTOCOL
from nuwa_search.store.store import open_store


def lend_profile(source: Path, target: Path, *, device: str = "jetson-nano") -> None:
    """Copy latency table and predictors of a device of this program's emulator, as profiling there would store them."""
    with open_store(str(source)) as lender, open_store(str(target)) as store:
        spec = next(record.spec for record in lender.devices() if record.spec.name == device)
        rows = lender.load_lut_rows(spec.device_id, PROTOCOL.protocol_id)
        assert rows
        store.save_lut_rows(spec, PROTOCOL, rows)
        for predictor in lender.predictors(spec.device_id):
            store.save_predictor(predictor)
