"""What every transport must do: a fixture ``transport`` gives one to a machine with this one's temporary folder."""

import shutil
import tracemalloc
from pathlib import Path

import pytest

from nuwa_search.core.errors import OutsideError
from nuwa_search.core.transport import CommandTimeoutError, ConnectionFailedError, Transport

NASTY = "a b'c\"d$HOME;echo x`id`*\\n"
"""A name that a shell would take apart."""


class TransportContract:
    """Runs commands and copies files. Subclass it as ``TestMine`` beside the fixture."""

    def max_peak_mb(self, transport: Transport) -> float:  # noqa: ARG002 - for who tests several
        """Return how much memory 20 MB of output may take on their way to a file, in MiB."""
        return 5.0

    def test_runs_a_command_and_tells_output_and_exit_status(self, transport: Transport) -> None:
        result = transport.run(["sh", "-c", "echo out; echo err >&2; exit 7"], timeout_s=10)
        assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")
        assert result.output == "out\nerr\n"

    def test_output_goes_to_a_file_without_passing_through_memory(self, transport: Transport, tmp_path: Path) -> None:
        path = tmp_path / "output"
        line = "echo err >&2; head -c 20000000 /dev/zero | tr '\\0' x; exit 7"
        transport.run(["true"], timeout_s=10)
        tracemalloc.start()
        try:
            result = transport.run(["sh", "-c", line], timeout_s=30, output_path=path)
            peak_mb = tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()
        assert (result.returncode, result.stdout, result.stderr) == (7, "", "err\n")
        assert path.stat().st_size == 20_000_000
        assert peak_mb < self.max_peak_mb(transport)

    def test_arguments_are_quoted_not_interpreted(self, transport: Transport) -> None:
        assert transport.run(["printf", "%s", NASTY], timeout_s=10).stdout == NASTY

    def test_bytes_that_are_no_text_do_not_break_it(self, transport: Transport) -> None:
        assert transport.run(["printf", r"a\377b"], timeout_s=10).stdout == "a�b"

    def test_a_command_that_is_missing_or_killed_has_the_status_of_a_shell(self, transport: Transport) -> None:
        assert transport.run(["no-such-command"], timeout_s=10).returncode == 127
        assert transport.run(["sh", "-c", "kill -9 $$"], timeout_s=10).returncode == 137

    def test_a_slow_command_is_given_up(self, transport: Transport) -> None:
        with pytest.raises(CommandTimeoutError):
            transport.run(["sleep", "30"], timeout_s=0.3)
        assert transport.run(["echo", "still here"], timeout_s=10).stdout == "still here\n"

    def test_files_go_there_and_back_whatever_their_names(self, transport: Transport, tmp_path: Path) -> None:
        here, back = tmp_path / "here", tmp_path / "back"
        here.write_bytes(bytes(range(256)) * 1000)
        folder = str(tmp_path / "deep" / NASTY.replace("/", ""))
        transport.make_dir(folder)
        transport.put(here, f"{folder}/{NASTY}")
        transport.get(f"{folder}/{NASTY}", back)
        assert back.read_bytes() == here.read_bytes()
        assert Path(folder).stat().st_mode & 0o077 == 0
        transport.remove(folder)
        assert not Path(folder).exists()
        transport.remove(folder)

    def test_a_file_that_is_not_there_is_an_error_of_that_file(self, transport: Transport, tmp_path: Path) -> None:
        with pytest.raises(OutsideError, match="copy") as caught:
            transport.get(str(tmp_path / "none"), tmp_path / "back")
        assert not isinstance(caught.value, ConnectionFailedError)
        with pytest.raises(OutsideError, match="copy") as caught:
            transport.put(tmp_path / "none", str(tmp_path / "there"))
        assert not isinstance(caught.value, ConnectionFailedError)

    def test_free_disk_is_what_the_system_says(self, transport: Transport, tmp_path: Path) -> None:
        expected = shutil.disk_usage(tmp_path).free / 1024**2
        assert transport.free_disk_mb(str(tmp_path)) == pytest.approx(expected, rel=0.1, abs=2048)
        with pytest.raises(OutsideError):
            transport.free_disk_mb(str(tmp_path / "none"))

    def test_it_may_be_used_again_after_close(self, transport: Transport) -> None:
        transport.close()
        assert transport.run(["echo", "again"], timeout_s=10).stdout == "again\n"
        transport.close()
        transport.close()
