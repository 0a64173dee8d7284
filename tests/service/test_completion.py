"""Shell completion, by what a shell would ask."""

import pytest

from nuwa_search.service.cli.commands.completion import SHELLS
from nuwa_search.service.cli.commands.search import command as search
from nuwa_search.service.cli.main import cli, run


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_completes_both_programs(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["completion", shell], prog_name="nuwa") == 0
    script = capsys.readouterr().out
    assert f"_NUWA_COMPLETE={shell}_complete" in script
    assert f"_NUWA_SEARCH_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize(("words", "wanted"), [("nuwa ver", "verify"), ("nuwa completion z", "zsh")])
def test_a_shell_gets_verbs_and_values(
    words: str, wanted: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_NUWA_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    assert run(cli, [], prog_name="nuwa") == 0
    assert capsys.readouterr().out == f"plain,{wanted}\n"


def test_nuwa_search_completes_its_options(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_NUWA_SEARCH_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "nuwa-search --budget-")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run(search, [], prog_name="nuwa-search") == 0
    assert capsys.readouterr().out.split() == ["plain,--budget-ms", "plain,--budget-statistic"]
