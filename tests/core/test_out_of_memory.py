"""Memory that ran out is told by its name, whatever library says so and however."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from nuwa_search.core import out_of_memory as subject
from nuwa_search.core.decode_image import decode_image
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.out_of_memory import OutOfMemoryError, is_memory_short, is_out_of_memory, out_of_memory
from nuwa_search.service.cli.main import cli, run
from nuwa_search.service.worker.worker import problem_of

BEYOND_ALL = 2**55
"""Bytes that no address space holds."""
SAID = (
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: bad allocation"),
    RuntimeError(
        "bfc_arena.cc:360 AllocateRawInternal Failed to allocate memory for requested buffer of size 1073741824"
    ),
    RuntimeError("env.cc:327 PosixThread pthread_create failed, error code: 12 error msg: Cannot allocate memory"),
    OSError(12, "Cannot allocate memory"),
    MemoryError(),
)
VAGUE = ("could not create a primitive", "could not execute a primitive", "can't start new thread")


def _told_by_numpy() -> None:
    np.empty(BEYOND_ALL, dtype=np.uint8)


def _told_by_torch() -> None:
    torch.empty(BEYOND_ALL, dtype=torch.uint8)


@pytest.mark.parametrize("take", [_told_by_numpy, _told_by_torch], ids=["numpy", "torch"])
def test_what_libraries_raise_here_counts(take: object) -> None:
    assert callable(take)
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        take()
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", SAID, ids=lambda error: str(error)[:30] or "MemoryError")
def test_every_way_of_saying_it_ends_with_three_and_a_hint(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fail)
    assert run(cli, ["env"], prog_name="nuwa") == OutsideError.exit_code
    told = capsys.readouterr()
    assert told.err.startswith("error: out of memory")
    assert "hint:" in told.err
    assert "internal error" not in told.err
    assert not told.out
    problem = problem_of(error)
    assert str(problem["message"]).startswith("out of memory")
    assert problem["hint"]
    assert problem["exit_code"] == OutsideError.exit_code


@pytest.mark.parametrize("said", VAGUE)
@pytest.mark.parametrize(("left", "counts"), [(20 * 2**20, True), (8 * 2**30, False), (None, True)])
def test_what_is_said_of_other_faults_too_counts_where_memory_is_short(
    said: str, left: int | None, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "memory_left", lambda: left)
    assert is_out_of_memory(RuntimeError(said)) is counts
    if counts:
        told = out_of_memory(RuntimeError(said), go_on="nuwa-search --study a --resume")
        assert said in told.message
        assert "by all signs" in told.message
        assert ("20 MB left" in told.message) is (left is not None)
        assert told.hint.endswith("nuwa-search --study a --resume")


def test_a_gpus_memory_is_hinted_at_as_such() -> None:
    assert "--accelerator cpu" in out_of_memory(torch.OutOfMemoryError("CUDA out of memory.")).hint
    assert "--accelerator" not in out_of_memory(MemoryError()).hint


@pytest.mark.parametrize("error", [NuwaError("the board ran out of memory"), RuntimeError("singular"), ValueError()])
def test_other_faults_keep_their_names(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_who_waits_for_a_memory_error_gets_one() -> None:
    told = out_of_memory(RuntimeError("std::bad_alloc"))
    assert isinstance(told, MemoryError)
    assert is_out_of_memory(told)
    assert out_of_memory(told) is told
    assert isinstance(told, OutOfMemoryError)


@pytest.mark.parametrize(("left", "raised"), [(2**20, MemoryError), (8 * 2**30, ValueError)])
def test_a_picture_is_not_called_damaged_where_memory_is_short(
    left: int, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(subject, "memory_left", lambda: left)
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    with pytest.raises(raised):
        decode_image(stream.getvalue())


def test_what_is_left_is_known_here() -> None:
    left = subject.memory_left()
    if left is None:
        pytest.skip("only Linux tells")
    assert left > 0
    assert is_memory_short(left + 2**40)
