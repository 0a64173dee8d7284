"""Report cards of predictors as pictures, when they are fitted and years later."""

from pathlib import Path

import pytest

from nuwa_search.latency.devices.find import find_device
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store


def nuwa(*args: str) -> int:
    return run(cli, list(args), prog_name="nuwa")


@pytest.mark.slow
def test_a_stored_report_card_is_drawn(profiled_db: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "card.png"
    assert nuwa("device", "show", "jetson-nano", "-o", str(path), "--db", str(profiled_db), "-q") == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    with open_store(str(profiled_db)) as store:
        record = store.predictors(find_device("jetson-nano", store).device_id)[0]
    points = record.report["heldout"]
    assert len(points["measured_ms"]) == len(set(points["arch_id"])) == record.report["num_heldout"]
    lower, value, upper = (points[f"{name}_ms"] for name in ("lower", "predicted", "upper"))
    assert all(a <= b <= c for a, b, c in zip(lower, value, upper, strict=True))


def test_a_device_without_predictor_has_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = str(tmp_path / "nuwa.sqlite")
    assert nuwa("device", "show", "host", "-o", str(tmp_path / "card.png"), "--db", db) == 2
    assert f"hint: nuwa profile --db {db} host" in capsys.readouterr().err


@pytest.mark.parametrize(("more", "word"), [((), "card.bmp"), (("--from", "jetson-tx2"), "holds none out")])
def test_a_picture_that_cannot_be_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], word: str
) -> None:
    db = tmp_path / "nuwa.sqlite"
    assert nuwa("profile", "jetson-nano", "-o", "card.bmp", "--db", str(db), *more) == 2
    assert word in capsys.readouterr().err
    assert not db.exists()
