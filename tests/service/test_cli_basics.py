"""The command line as a stranger meets it: quick, and errors in the contract's form."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nuwa_search.service.cli.commands.search import command as search_command
from nuwa_search.service.cli.main import COMMANDS, cli, run
from tests.support.toy_images import write_colours

SMALL = ("--base", "default", "--data", "images")
"""With the images that ``images_here`` writes into the working folder."""
"""The base that is there without the extra `demo`."""


def nuwa(*args: str) -> int:
    return run(cli, args, prog_name="nuwa")


def search(*args: str) -> int:
    return run(search_command, args, prog_name="nuwa-search")


@pytest.mark.parametrize("verb", ["--help", "query", "device ls"])
def test_quick_verbs_load_no_torch(verb: str, tmp_path: Path) -> None:
    code = (
        "import sys; from nuwa_search.service.cli.main import cli, run;"
        f"assert run(cli, ['db', 'upgrade', '--db', {str(tmp_path / 'a.db')!r}], prog_name='nuwa') == 0;"
        f"code = run(cli, {verb.split()!r} + ([] if {verb!r} == '--help' else ['--db', {str(tmp_path / 'a.db')!r}]),"
        " prog_name='nuwa');"
        "assert code == 0, code;"
        "heavy = {'torch', 'timm', 'pandas', 'numpy', 'onnx', 'optuna', 'fastapi'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in COMMANDS:
        assert nuwa(verb, "--help") == 0
        assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["serch"], "did you mean 'search'"),
        (["measure", "x.onnx", "--device", "jetson-nanoo"], "did you mean 'jetson-nano'"),
        (["query", "--colour"], "No such option"),
        (["query", "--min-top1", "87"], "0<=x<=1"),
    ],
)
def test_wrong_use_is_two_and_says_what_is_known(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nuwa(*args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error:")
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("budget", ["0", "-3", "nan", "inf", "many"])
def test_budgets_that_are_no_budget(budget: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(f"--budget-ms={budget}") == 2
    assert "budget-ms" in capsys.readouterr().err


@pytest.fixture
def images_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder of two classes of the small base, and work beside it."""
    write_colours(tmp_path / "images", ("bus", "train"), num_train=8)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("images_here")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--budget-ms"),
        (["--budget-ms", "5", "--classes", " , "], "class list is empty"),
        (["--budget-ms", "5", *SMALL, "--classes", "bus"], "at least two classes"),
        (["--budget-ms", "5", *SMALL, "--classes", "bus,trian"], "unknown class 'trian'"),
        (["--budget-ms", "5", "--device", "jetson-nona"], "unknown device"),
        (["--budget-ms", "5", "--base", "./nothing"], "--data is missing"),
        (["--budget-ms", "5", "--base", "./nothing", "--data", "./nothing"], "no base at"),
        (["--budget-ms", "5", "--base", "random:resnet18", "--data", "."], "not among its plain ViTs"),
        (["--budget-ms", "5", "--base", "default", "--data", "./nothing"], "no data at"),
        (["--budget-ms", "5", *SMALL, "--predictor", "abc"], "no latency predictor"),
        (["--resume"], "name of the study"),
        (["--resume", "--study", "never"], "no study 'never'"),
        (["--budget-ms", "5", "--study", "../up"], "cannot be named '../up'"),
        (["--budget-ms", "5", *SMALL, "--img-size", "32x"], "wanted pixels as N, or as HxW"),
        (["--budget-ms", "5", *SMALL, "--img-size", "32x26"], "images of 32x26 pixels cannot be cut into patches of 4"),
        (["--budget-ms", "5", *SMALL, "--img-size", "32x24", "--img-sizes", "24x24"], "24x24 beside 32x24 is not"),
        (["--budget-ms", "5", *SMALL, "--img-size", "30"], "cannot be cut into patches of 4"),
        (["--budget-ms", "5", "--config", "none.toml"], "no settings file"),
    ],
)
def test_bad_input_ends_in_words_and_leaves_nothing(
    args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(*args, "-q", "--db", str(tmp_path / "d" / "nuwa.sqlite")) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_a_mistyped_database_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nuwa("query", "--db", str(tmp_path / "typo.sqlite")) == 2
    assert "no database at" in capsys.readouterr().err
    assert not (tmp_path / "typo.sqlite").exists()


@pytest.mark.usefixtures("images_here")
def test_a_bundle_that_cannot_be_written_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for target in ("notes.txt", "notes.txt/bundle"):
        assert (
            search("--budget-ms", "5", *SMALL, "-q", "--db", str(tmp_path / "a.sqlite"), "-o", str(tmp_path / target))
            == 2
        )
        assert "choose another" in capsys.readouterr().err


def test_config_shows_where_values_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nuwa.toml").write_text('trials = 7\ndevice = "host"\n')
    monkeypatch.setenv("NUWA_DEVICE", "jetson-tx2")
    monkeypatch.setenv("NUWA_DB", "postgresql://me:secret@there/db")
    assert nuwa("config", "show", "--json") == 0
    shown = {row["setting"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert (shown["trials"]["value"], shown["trials"]["source"]) == ("7", "nuwa.toml")
    assert (shown["device"]["value"], shown["device"]["source"]) == ("jetson-tx2", "environment NUWA_DEVICE")
    assert (shown["seed"]["value"], shown["seed"]["source"]) == ("0", "default")
    assert shown["db"]["value"] == "postgresql://me:***@there/db"


@pytest.mark.usefixtures("images_here")
def test_settings_file_reaches_the_command_and_flags_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nuwa.toml").write_text('trials = 7\nbudget-ms = 9.5\ndb = "here.sqlite"\n')
    assert search("--dry-run", "--json", "--budget-ms", "4", *SMALL) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["trials"], plan["budget_ms"]) == (7, 4.0)
    assert (tmp_path / "here.sqlite").exists()


def test_unknown_setting_in_a_file_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nuwa.toml").write_text("trails = 7\n")
    assert search("--dry-run", "--budget-ms", "4") == 2
    assert "did you mean 'trials'" in capsys.readouterr().err


@pytest.mark.usefixtures("images_here")
def test_unknown_variable_is_only_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUWA_TRAILS", "7")
    assert search("--dry-run", "--budget-ms", "4", *SMALL, "--db", str(tmp_path / "a.sqlite")) == 0
    assert "warning: environment variable NUWA_TRAILS" in capsys.readouterr().err


def test_device_ls_lists_the_built_in_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nuwa("device", "ls", "--json", "--db", str(tmp_path / "a.sqlite")) == 0
    names = {d["name"]: d for d in json.loads(capsys.readouterr().out)["devices"]}
    assert {"jetson-nano", "jetson-nano-5w", "jetson-tx2", "jetson-orin-nano", "host"} <= set(names)
    assert names["jetson-nano"]["provenance"] == "emulated"


def test_a_built_in_device_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nuwa("device", "rm", "jetson-nano", "-y", "--db", str(tmp_path / "a.sqlite")) == 2
    assert "built in" in capsys.readouterr().err


def test_off_a_terminal_rows_are_tab_separated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nuwa("device", "ls", "--db", str(tmp_path / "a.sqlite")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t")[:2] == ["name", "kind"]
    assert all(len(line.split("\t")) == len(lines[0].split("\t")) for line in lines)


def test_a_newer_database_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    path = tmp_path / "a.sqlite"
    assert nuwa("db", "upgrade", "--db", str(path)) == 0
    connection = sqlite3.connect(path)
    connection.execute("update nuwa_alembic_version set version_num = '9999'")
    connection.commit()
    connection.close()
    capsys.readouterr()
    assert nuwa("query", "--db", str(path)) == 2
    assert "newer" in capsys.readouterr().err
