"""Two stored subnets side by side: by the library, the command line and the API alike."""

import json
from pathlib import Path

import pytest

import nuwa_search
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from tests.support.api_client import client_of
from tests.support.page_store import Seeded, seed_page_store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seeded]:
    folder = tmp_path_factory.mktemp("compare")
    with open_store(str(folder / "nuwa.sqlite")) as store:
        return folder, seed_page_store(store, folder, num_subnets=3)


def test_library_command_and_api_give_the_same(place: tuple[Path, Seeded], capsys: pytest.CaptureFixture[str]) -> None:
    folder, seeded = place
    ids, db = (seeded.winner_id, seeded.lost_id), str(folder / "nuwa.sqlite")
    with nuwa_search.open(db) as lab:
        found = lab.compare(*ids)
        document = json.loads(json.dumps(found.document()))
        client = client_of(lab.store, folder)
        assert client.get(f"/api/v1/comparisons/{ids[0]}/{ids[1]}").json() == document
        assert client.get(f"/api/v1/comparisons/{ids[0]}/unknown").status_code == 404
    assert run(cli, ["compare", *ids, "--json", "--db", db], prog_name="nuwa") == 0
    assert json.loads(capsys.readouterr().out) == document
    assert run(cli, ["compare", *ids, "--db", db], prog_name="nuwa") == 0
    assert "blocks that differ" in capsys.readouterr().out
    (latency,) = found.differences.latencies
    assert latency.difference_ms == pytest.approx(6.2 - seeded.winner_ms)
    assert latency.is_alike
    accuracy = found.differences.accuracy
    assert accuracy is not None
    assert accuracy.difference == pytest.approx(0.861 - seeded.winner_top1)
    assert accuracy.is_equal == (wilson_interval(213, 250)[0] <= 0.861 <= wilson_interval(213, 250)[1])
    assert [one.is_missing for side in found.subnets for one in side.certificates] == [False, True]
    assert [side.bundle and side.bundle.is_missing for side in found.subnets] == [True, True]  # no weights, no folder


def test_blocks_that_differ_and_commands_that_make_each_again(place: tuple[Path, Seeded]) -> None:
    folder, seeded = place
    with nuwa_search.open(folder / "nuwa.sqlite") as lab:
        winner, trial = lab.compare(seeded.winner_id, "00000001").subnets
        differences = lab.compare(seeded.winner_id, "00000001").differences
        first, second = (lab.store.load_subnet(one).arch.blocks for one in (seeded.winner_id, "00000001"))
    searched, cut = winner.commands
    assert searched.command.startswith("nuwa-search --budget-ms 5 --device jetson-nano --base default --trials 3 --db ")
    assert [one.command.split(" -o ")[0] for one in (cut, *trial.commands)] == [
        f"nuwa derive --subnet {seeded.winner_id}",
        "nuwa derive --subnet 00000001",
    ]
    differing = [k for k, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]  # brute force
    assert [one.index for one in differences.blocks] == differing
    assert differing
    assert (differences.accuracy, "search split" in differences.no_accuracy) == (None, True)
