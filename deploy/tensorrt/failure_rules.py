"""The kinds of ways in which `trtexec` fails, how each shows in what it prints, and the way out of each.

Read off the public logs that docs/boards.md names and the message tables of TensorRT 8 to 11. The order is
that of causes: a build without memory ends in a missing implementation, a GPU that may not be opened in a
CUDA failure, a full disk in a failed save, so the earlier kind is the reason and the later one its result.
"""

import re
from dataclasses import dataclass
from typing import Literal

FailureKind = Literal[
    "out_of_memory",
    "disk_full",
    "timed_out",
    "model",
    "engine",
    "options",
    "unknown-board",
    "permission",
    "installation",
    "cuda",
    "crash",
    "unknown",
]


@dataclass(frozen=True)
class FailureRule:
    """One way of failing.

    Args:
        kind: What it is called.
        pattern: Shows it in an error line, or in a line without a severity, which comes from the system.
        hint: What to type.
    """

    kind: FailureKind
    pattern: re.Pattern[str]
    hint: str


FREE_MEMORY = (
    "free memory on the board (sudo systemctl isolate multi-user.target stops the desktop), "
    "add swap, or give a smaller --workspace-mb"
)
NO_KERNEL = (
    "TensorRT there has no kernel for this layer: build with --precision fp32 to see whether the precision is why, "
    "otherwise replace the operator; nuwa export with --device refuses what a release is known to lack"
)
BUILDER_ENDED = re.compile(r"Assertion engine != nullptr|Engine could not be created|Building engine failed")
NO_IMPLEMENTATION = re.compile(r"Could not find any implementation for node", re.IGNORECASE)

# Warnings of memory that ran short. A build that succeeds prints them too, so they only explain a layer for
# which no kernel was left.
MEMORY_WARNING = re.compile(
    r"insuff?icient memory|memory is insuff?icient|could not be allocated|sufficient workspace|"
    r"increas(?:e|ing) (?:the )?workspace|Requested amount of GPU memory|out of memory",
    re.IGNORECASE,
)


def _rule(kind: FailureKind, hint: str, *patterns: str) -> FailureRule:
    return FailureRule(kind, re.compile("|".join(patterns), re.IGNORECASE), hint)


RULES: tuple[FailureRule, ...] = (
    _rule(
        "options",
        "this trtexec is of another version than planned: nuwa doctor DEVICE",
        r"Unknown option",
        r"Unrecognized option",
        r"Model missing or format not recognized",
        r"Unknown arguments?:",
    ),
    _rule(
        "options",
        "the inputs asked for are not those the engine was built with: export with the device's batch and image size "
        "(nuwa export DIR --device DEVICE) and build again, or give the shapes of the model",
        r"Static dimension mismatch",
        r"Static dimensions? .*(?:not match|mismatch)",
        r"engineDims\.d\[i\] == dims",
        r"no optimization profile has been defined",
        r"Cannot find input tensor with name",
        r"input shapes? .*(?:inconsistent|not within)",
        r"does not satisfy any optimization profiles",
    ),
    _rule(
        "disk_full",
        "free disk space on the board (df -h shows where) and run again",
        r"No space left on device",
        r"\bENOSPC\b",
        r"Disk quota exceeded",
    ),
    _rule(
        "permission",
        'let the board\'s user open the GPU: sudo usermod -aG video "$USER" there, then log in again',
        r"NvRm\w*Init\w* failed.*Permission denied",
        r"(?:nvmap|nvhost|nvgpu|/dev/nv|/dev/dri)\S*.*Permission denied",
        r"Permission denied.*(?:nvmap|nvhost|nvgpu|/dev/nv|/dev/dri)",
    ),
    _rule(
        "permission",
        "the board's user may not read, write or start something there: ls -l shows whose it is",
        r"Permission denied",
        r"Operation not permitted",
        r"\bEACCES\b",
        r"Read-only file system",
    ),
    _rule(
        "installation",
        "TensorRT, CUDA and driver there do not fit together: sudo apt-get install --reinstall nvidia-jetpack, or "
        "start the container with --runtime nvidia",
        r"error while loading shared libraries",
        r"cannot open shared object file",
        r"cannot allocate memory in static TLS block",
        r"driver version is insufficient for CUDA runtime",
        r"no CUDA-capable device",
        r"CUDA initialization failure with error:? ?(?!2\b)\d+",
        r"command not found",
        r"undefined symbol",
    ),
    _rule(
        "out_of_memory",
        FREE_MEMORY,
        r"out of memory",
        r"\bOutOfMemory\b",
        r"std::bad_alloc",
        r"Cannot allocate memory(?! in static TLS)",
        r"\bKilled\b",
        r"\bENOMEM\b",
        r"Requested amount of GPU memory",
        r"NvMap\w*Alloc\w*:? .*\berror (?!13\b)\d+",
        r"CUDA error 2 for \d+-byte allocation",
        r"CUDA (?:\w+ )?(?:error|failure)(?: with error)?:? ?2\b",
        r"cudaErrorMemoryAllocation",
        r"CUDA_ERROR_OUT_OF_MEMORY",
        r"(?:CUDNN|CUBLAS|CUSPARSE)_STATUS_ALLOC_FAILED",
        r"insuff?icient memory",
        r"memory is insuff?icient",
        r"failed to allocate|error allocating",
    ),
    _rule(
        "unknown-board",
        "the TensorRT there is older than this board and does not know it: install the newest JetPack for the board "
        "(nuwa doctor DEVICE shows which it has)",
        r"Unknown embedded device",
        r"checkMemLimit",
        r"Unsupported SM",
        r"(?:Target )?GPU (?:SM|with SM) ?\S* (?:is )?not supported",
        r"not supported by this (?:version|release) of TensorRT",
        r"no kernel image is available",
    ),
    _rule(
        "engine",
        "engines fit one TensorRT version and one GPU: build it again on the board (nuwa build DIR --device DEVICE)",
        r"engine plan file",
        r"plan files? are only supported",
        r"magic ?tag",
        r"version tag does not match",
        r"platform (?:specific )?tag mismatch",
        r"Failed to deserialize",
        r"deserializ\w+ failed",
        r"Serialization assertion",
        r"Error Code 1: Serialization",
        r"Serialization Error in",
        r"Got invalid engine",
        r"Error opening engine file",
        r"old deserialization call on a newer plan",
        r"(?:incompatible|mismatch(?:ed)?) (?:serialization )?version",
    ),
    _rule(
        "cuda",
        "a kernel failed on the GPU: reboot the board and run again; if it fails at the same layer, this TensorRT "
        "builds it wrongly (try --precision fp32, or a newer JetPack); sudo dmesg there names GPU faults",
        r"illegal memory access",
        r"illegal instruction was encountered",
        r"unspecified launch failure",
        r"misaligned address",
        r"device-side assert",
        r"launch timed out",
        r"invalid device function",
        r"uncorrectable ECC",
        r"(?:CUDNN|CUBLAS)_STATUS_\w+",
        r"Cuda failure",
        r"CUDA error \d+",
        r"cudaError\w+",
        r"Error Code 1: (?:Cuda|Cudnn|Cublas|Cask)\b",
        r"NVRM: Xid",
    ),
    _rule(
        "model",
        "export the model again with --device, so that its parser can read it",
        r"No importer registered for op",
        r"Failed to parse onnx",
        r"ModelImporter",
        r"onnx2trt|onnxOpImporters|builtin_op_importers",
        r"While parsing node",
        r"unsupported datatype",
        r"UNSUPPORTED_NODE|INVALID_GRAPH|INVALID_NODE|Invalid Node",
        r"must have (?:the )?same (?:input )?types?",
        r"Error Code 4: API Usage Error",
        r"API Usage Error",
        r"Network must have at least one",
        r"requires? (?:INT8 )?calibration|no scaling factors|native Int8 support",
        r"Plugin not found",
        r"opset version",
        r"Error Code 4: (?:Internal|Miscellaneous) Error",
        r"Error Code 9: ",
    ),
    _rule("model", NO_KERNEL, NO_IMPLEMENTATION.pattern),
    _rule(
        "crash",
        "trtexec itself crashed: run again once; if it crashes at the same place, try --precision fp32 or a newer "
        "JetPack, and look at sudo dmesg there",
        r"Segmentation fault",
        r"Bus error",
        r"Illegal instruction\b",
        r"Floating point exception",
        r"core dumped",
        r"terminate called",
        r"\bAborted\b",
        r"stack smashing|double free|corrupted size|free\(\): invalid",
    ),
)

# What a shell answers for a program that it may not start, or does not find (POSIX).
SHELL_STATUS: dict[int, FailureKind] = {126: "permission", 127: "installation"}

# Signals that a program dies of by its own fault: ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS (signal(7)).
CRASH_SIGNALS = {4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 11: "SEGV", 31: "SYS"}
