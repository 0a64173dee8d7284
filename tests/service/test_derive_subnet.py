"""``nuwa derive --subnet``: the net that was scored under an id, and no other."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.core.arch import EMPTY_BLOCK
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.search import run as study_loop
from nuwa_search.search.scorer import FIRST_IMAGES
from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.lineage import find_lineage
from nuwa_search.store.records import FinetuneRecord, SubnetRecord
from nuwa_search.store.sql import run_sql
from nuwa_search.store.store import open_store
from tests.support.toy_base import CLASSES, write_toy_base
from tests.support.toy_images import write_colours

NUM_TRAIN = 220
"""Per class: a fifth of them is 132 search images, a few more than those after which a subnet may be given up."""
COLUMNS = (
    "subnet_id, arch_id, top1, split, num_images, top1_search, kl_to_teacher, num_images_search, study, trial_number, "
    "kept_blocks, score_kind, bundle_dir, device"
)


class Searched:
    """A database with a finished search, and where its base and images lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = str(folder / "nuwa.sqlite")
        self.base = folder / "base"
        self.images = folder / "images"
        self.bundle = folder / "bundle"

    def search(self, *more: str) -> int:
        args = ["--base", str(self.base), "--data", str(self.images), "--trials", "16", "--finetune-steps", "4"]
        place = ["--db", self.db, "--cache-dir", str(self.folder / "cache"), "-o", str(self.bundle), "--json", "-q"]
        return run(command, ["--budget-ms", "1.2", *args, *place, *more], prog_name="nuwa-search")

    def derive(self, *args: str) -> int:
        place = ["--db", self.db, "--cache-dir", str(self.folder / "cache"), "--json", "-y"]
        return run(cli, ["derive", *args, *place], prog_name="nuwa")

    def rows(self, condition: str = "1 = 1") -> list[dict[str, Any]]:
        with open_store(self.db) as store:
            found = run_sql(store, f"SELECT {COLUMNS} FROM v_subnets WHERE {condition} ORDER BY subnet_id")
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, profiled_db: Path) -> Searched:
    folder = tmp_path_factory.mktemp("searched")
    found = Searched(folder)
    shutil.copy(profiled_db, found.db)
    write_toy_base(found.base)
    write_colours(found.images, CLASSES, num_train=NUM_TRAIN)
    with pytest.MonkeyPatch.context() as patch:  # some net is given up: each that is no better than those before
        patch.setattr(study_loop, "HOPELESS_FACTOR", 1.0)
        patch.setattr(study_loop, "HOPELESS_MARGIN", 0.0)
        assert found.search("--study", "toy", "--seed", "3") == 0
    return found


def answer_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def picked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pick the shipped one, the two best trials (finalists), the worst, one that was given up, one without a block."""
    trials = sorted((row for row in rows if row["trial_number"] is not None), key=lambda row: row["kl_to_teacher"])
    given_up = [row for row in trials if row["num_images_search"] == FIRST_IMAGES]
    gaps = [row for row in trials if "0" in row["kept_blocks"]]
    shipped = [row for row in rows if row["bundle_dir"] is not None]
    assert min(len(given_up), len(gaps), len(shipped)) >= 1
    chosen = {row["subnet_id"]: row for row in (*shipped, *trials[:2], trials[-1], given_up[0], gaps[0])}
    others = [row for row in trials if row["subnet_id"] not in chosen]  # one net may be several of these
    return [*chosen.values(), *others[: max(0, 5 - len(chosen))]]


@pytest.mark.slow
def test_a_subnet_cut_again_scores_as_its_row_says_to_the_image(
    searched: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    before = searched.rows()
    for row in picked(before):
        folder = tmp_path / row["subnet_id"]
        assert searched.derive("--subnet", row["subnet_id"], "-o", str(folder)) == 0
        answer = answer_of(capsys)
        names = ("subnet_id", "arch_id", "top1_search", "kl_to_teacher")
        assert [answer[name] for name in names] == [row[name] for name in names]
        assert answer["num_images"] == row["num_images_search"]
        assert answer["is_same"]
        if row["score_kind"] == "top1_derived":
            assert (answer["top1_search"], answer["num_images"]) == (row["top1"], row["num_images"])
        bundle = read_bundle(folder)
        with open_store(searched.db) as store:
            assert bundle.arch == store.load_subnet(row["subnet_id"]).arch
    kept = [name for name in before[0] if name != "bundle_dir"]
    assert [[row[name] for name in kept] for row in searched.rows()] == [[row[name] for name in kept] for row in before]


@pytest.mark.slow
def test_a_fine_tuned_winner_is_given_as_it_was_cut_and_that_is_said(
    searched: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Searched(tmp_path)
    shutil.copy(searched.db, home.db)
    (row,) = home.rows("bundle_dir IS NOT NULL AND score_kind = 'top1'")
    capsys.readouterr()
    assert home.derive("--subnet", row["subnet_id"], "-o", str(tmp_path / "d")) == 0
    captured = capsys.readouterr()
    again = read_bundle(tmp_path / "d")
    assert again.arch == read_bundle(searched.bundle).arch
    with open_store(home.db) as store:
        (tuning,) = find_lineage(store, row["subnet_id"]).finetunings
        # four steps changed nothing for the better, so that the winner was shipped as it was cut: nothing to say
        assert tuning.weights_hash == hash_tensors(again.load_model().state_dict())
        assert json.loads(captured.out)["top1_finetuned"] is None
        store.record_finetune(FinetuneRecord(row["subnet_id"], {}, {}, "hash of trained weights", 1.0))
    assert home.derive("--subnet", row["subnet_id"], "-o", str(tmp_path / "d")) == 0
    captured = capsys.readouterr()
    tuned = json.loads(captured.out)["top1_finetuned"]
    assert (tuned["top1"], tuned["split"], tuned["num_images"]) == (row["top1"], "test", 30)
    assert "fine-tuned weights" in captured.err
    assert home.rows(f"subnet_id = '{row['subnet_id']}'") == [row]  # its bundle stays the search's


@pytest.mark.slow
def test_an_arch_id_of_several_nets_is_refused_with_their_list(
    searched: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = str(tmp_path / "copy.sqlite")
    shutil.copy(searched.db, db)
    with open_store(db) as store:
        rows = searched.rows("kept_blocks LIKE '%0%' AND trial_number IS NOT NULL")
        alone = [row for row in rows if len(searched.rows(f"arch_id = '{row['arch_id']}'")) == 1]
        assert alone
        one = store.load_subnet(alone[0]["subnet_id"])
        gone = next(place for place, block in enumerate(one.arch.blocks) if block.is_empty)
        blocks = [block for block in one.arch.blocks if not block.is_empty]
        blocks.insert(gone - 1 if gone else 1, EMPTY_BLOCK)
        other = replace(one.arch, blocks=tuple(blocks))
        assert other != one.arch
        assert other.arch_id == one.arch.arch_id
        args = ["derive", "--arch", other.arch_id, "--base", str(searched.base), "--data", str(searched.images)]
        args += ["--db", db, "--cache-dir", str(searched.folder / "cache"), "--json", "--seed", "3"]
        capsys.readouterr()
        # one net: its own blocks are cut, not others of the same shape
        assert run(cli, [*args, "-o", str(tmp_path / "one")], prog_name="nuwa") == 0
        assert read_bundle(tmp_path / "one").arch == one.arch
        assert answer_of(capsys)["subnet_id"] == one.subnet_id
        store.record_subnets([SubnetRecord("0123456789abcdef", other, one.base_id, one.task_id, one.derivation)])
    assert run(cli, [*args, "-o", str(tmp_path / "two")], prog_name="nuwa") == 2
    said = capsys.readouterr().err
    assert "0123456789abcdef" in said
    assert one.subnet_id in said
    assert f"nuwa derive --subnet {one.subnet_id} -o subnet-{one.subnet_id} --db {db}" in said
    assert not (tmp_path / "two").exists()


@pytest.mark.slow
def test_what_is_not_what_it_was_is_named(
    searched: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Searched(tmp_path)
    for name in ("nuwa.sqlite", "base", "images"):
        source = searched.folder / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    # as if it had been searched here: the rows name the folders of this test
    with open_store(home.db) as store, store.write() as connection:
        for table, column, place in (("nuwa_tasks", "data", home.images), ("nuwa_bases", "name", home.base)):
            connection.exec_driver_sql(f"UPDATE {table} SET {column} = ?", (str(place),))
        connection.exec_driver_sql("UPDATE nuwa_bases SET info = '{}'")  # as rows of earlier versions: one name
    identity = home.rows("trial_number = 2")[0]["subnet_id"]
    out = ["-o", str(tmp_path / "d")]

    home.images.rename(tmp_path / "moved")
    assert home.derive("--subnet", identity, *out) == 2
    said = capsys.readouterr().err
    assert "cannot be opened" in said
    assert f"--subnet {identity} --data PATH" in said
    assert home.derive("--subnet", identity, *out, "--data", str(tmp_path / "moved")) == 0
    assert answer_of(capsys)["is_same"]

    next((tmp_path / "moved" / "train" / CLASSES[0]).iterdir()).unlink()
    assert home.derive("--subnet", identity, *out, "--data", str(tmp_path / "moved")) == 2
    assert "train" in capsys.readouterr().err.split("other images than")[1]

    config = home.base / "config.json"
    as_it_was = config.read_text()
    config.write_text(as_it_was.replace("0.5", "0.4"))
    assert home.derive("--subnet", identity, *out, "--data", str(searched.images)) == 2
    assert "its weights are the same, and images are made otherwise" in capsys.readouterr().err
    config.write_text(as_it_was)

    (home.base / "model.safetensors").unlink()
    assert home.derive("--subnet", identity, *out, "--data", str(searched.images)) == 2
    assert "--base FOLDER" in capsys.readouterr().err
    assert home.derive("--subnet", identity, *out, "--data", str(searched.images), "--base", "default") == 2
    assert "'default' holds base" in capsys.readouterr().err
    with open_store(home.db) as store:  # it was also called by another name, and is found under that
        base = store.load_base(store.load_subnet(identity).base_id)
        store.record_base(replace(base, name=str(searched.base)))
    assert home.derive("--subnet", identity, *out, "--data", str(searched.images)) == 0
    assert answer_of(capsys)["is_same"]


@pytest.mark.parametrize(
    ("derivation", "said"),
    [
        ({"origin": "small-model"}, "a small ViT that a search trained"),
        ({"origin": "seed", "invented": 3}, "does not know: invented"),
        ({"ridge": 0.5, "origin": "seed"}, "another version of the derivation"),
    ],
)
@pytest.mark.slow
def test_what_was_not_cut_like_this_is_refused(
    searched: Searched, tmp_path: Path, capsys: pytest.CaptureFixture[str], derivation: dict[str, Any], said: str
) -> None:
    db = str(tmp_path / "copy.sqlite")
    shutil.copy(searched.db, db)
    with open_store(db) as store:
        one = store.load_subnet(searched.rows("trial_number = 0")[0]["subnet_id"])
        store.record_subnets([replace(one, subnet_id="other", derivation=derivation)])
    assert run(cli, ["derive", "--subnet", "other", "-o", str(tmp_path / "d"), "--db", db], prog_name="nuwa") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--subnet", "x", "--classes", "a,b"], "--classes is part of what a subnet id means"),
        (["--subnet", "x", "--seed", "1"], "--seed is part of what a subnet id means"),
        (["--subnet", "x", "--arch", "y"], "--arch is part of what a subnet id means"),
        (["--subnet", "x"], "the database knows no subnet 'x'"),
        ([], "derive needs an arch or a subnet"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], said: str) -> None:
    out = ["-o", str(tmp_path / "d"), "--db", str(tmp_path / "nuwa.sqlite")]
    assert run(cli, ["derive", *args, *out], prog_name="nuwa") == 2
    assert said in capsys.readouterr().err
