"""What `trtexec` says where it fails, and the way out of each kind."""

import csv
from pathlib import Path

import pytest

from nuwa_search.core.errors import OutsideError
from nuwa_search.deploy.tensorrt.failures import failure_error, read_failure


@pytest.mark.parametrize(
    ("text", "code", "kind", "exit_code"),
    [
        (
            "[E] [TRT] 1: Error Code 1: Cuda Runtime (out of memory)\n[E] Failed to parse onnx file",
            1,
            "out_of_memory",
            3,
        ),
        ("[I] fine\nKilled\n", 137, "out_of_memory", 3),
        ("[I] fine\n", 137, "out_of_memory", 3),
        ("terminate called after throwing an instance of 'std::bad_alloc'", 134, "out_of_memory", 3),
        ("[W] [TRT] Skipping tactic 1 due to insufficient memory\n[E] odd", 1, "unknown", 3),
        ("[E] Could not save: No space left on device", 1, "disk_full", 3),
        ("[I] fine", 124, "timed_out", 3),
        ("[E] [TRT] ModelImporter.cpp:773: While parsing node number 3", 1, "model", 2),
        ("[E] [TRT] 6: The engine plan file is not compatible with this version of TensorRT", 1, "engine", 2),
        ("[E] Unknown option: --workspace 16", 1, "options", 2),
        ("", 1, "unknown", 3),
    ],
)
def test_kind_exit_code_and_hint(text: str, code: int, kind: str, exit_code: int) -> None:
    failure = read_failure(text, returncode=code)
    assert failure.kind == kind
    error = failure_error(failure, step="building")
    assert error.exit_code == exit_code
    assert isinstance(error, OutsideError) == (exit_code == 3)
    assert error.hint


def test_public_logs_are_read_as_a_person_reads_them(shared: Path) -> None:
    with (shared / "data" / "board_logs" / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 21
    for row in rows:
        failure = read_failure(row["trtexec_output"], returncode=int(row["exit_code"]))
        assert failure.kind in row["what_a_person_reads"].split("/"), row["case"]
        assert failure.hint


@pytest.mark.parametrize(
    ("text", "code", "kind", "way_out"),
    [
        ("[E] 1: [TRT] CUDA initialization failure with error: 2", 1, "out_of_memory", "swap"),
        ("[E] 6: CUDA initialization failure with error: 35. Please check", 1, "installation", "nvidia-jetpack"),
        ("[E] Error Code 1: Cudnn (CUDNN_STATUS_ALLOC_FAILED)", 1, "out_of_memory", "swap"),
        ("trtexec: error while loading shared libraries: libnvinfer.so.8", 127, "installation", "reinstall"),
        ("libgomp.so.1: cannot allocate memory in static TLS block", 1, "installation", "reinstall"),
        ("", 127, "installation", "reinstall"),
        ("sh: 1: /usr/src/tensorrt/bin/trtexec: Permission denied", 126, "permission", "ls -l"),
        ("NvRmMemInitNvmap failed with Permission denied", 1, "permission", "video"),
        ("[E] [TRT] 2: [helpers.cpp::smVerHex2Dig::541] (Unsupported SM: 0x809)", 1, "unknown-board", "JetPack"),
        ("[E] Error[1]: Error Code 1: Cuda Runtime (unspecified launch failure)", 1, "cuda", "dmesg"),
        ("[E] [TRT] INVALID_CONFIG: The engine plan file is generated on an incompatible device", 1, "engine", "b"),
        ("[E] Platform specific tag mismatch detected. TensorRT plan files are only supported", 1, "engine", "b"),
        ("[E] [TRT] coreReadArchive.cpp (32) - Serialization Error in verifyHeader: 0", 1, "engine", "build"),
        ("[E] 4: [network.cpp::validate::2738] Network must have at least one output", 1, "model", "export"),
        ('[E] Cannot find input tensor with name "x" in the engine bindings!', 1, "options", "shapes"),
        ("", 139, "crash", "dmesg"),
        ("Aborted (core dumped)", 134, "crash", "dmesg"),
        ("[E] odd", 134, "crash", "dmesg"),
        ("[I] fine\n[E] odd", 1, "unknown", "--debug"),
        ("[E] CUDA driver version is insufficient for CUDA runtime version", 1, "installation", "nvidia-jetpack"),
    ],
)
def test_further_messages_of_the_same_kinds(text: str, code: int, kind: str, way_out: str) -> None:
    failure = read_failure(text, returncode=code)
    assert failure.kind == kind
    assert way_out in failure.hint


def test_a_layer_without_a_kernel_is_out_of_memory_only_if_memory_ran_short_for_it() -> None:
    warning = "[W] [TRT] Skipping tactic 8 due to insuficient memory on requested size of 4364"
    lost = "[E] Error[10]: Internal Error (Could not find any implementation for node /head/ArgMax.)"
    other = ["[I] [TRT] something else"] * 12
    near = read_failure("\n".join([*other, warning, lost]), returncode=1)
    assert (near.kind, near.line.startswith("[W]")) == ("out_of_memory", True)
    far = read_failure("\n".join([warning, *other, lost]), returncode=1)
    assert (far.kind, "memory ran short earlier" in far.hint) == ("model", True)
    assert read_failure(lost, returncode=1).kind == "model"
    small = "[W] [TRT] Some tactics do not have sufficient workspace memory to run"
    assert "larger --workspace-mb" in read_failure(f"{small}\n{lost}", returncode=1).hint


def test_a_failure_under_an_old_tensorrt_says_so() -> None:
    text = "&&&& RUNNING TensorRT.trtexec # ./trtexec\n[E] [TRT] onnx2trt_utils.cpp:467: Found unsupported datatype"
    failure = read_failure(text, returncode=1)
    assert failure.kind == "model"
    assert "TensorRT 7 or older" in failure.line
    assert "JetPack 4.6" in failure.hint
