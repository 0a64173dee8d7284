#!/usr/bin/env python3
"""Stands in for `trtexec`: the options, exit codes, logs and files of one release, without a GPU.

The formats are those of the releases' own reports (8.0.1 and 8.2.1 as a Jetson Nano prints them, 8.5
on with lists of percentiles, 10 and 11 with a build number in the header). Times follow from the size
of the ONNX file alone and are never taken from a clock. An engine file holds the ONNX file it was built from and its
hash; with --loadInputs and --exportOutput that very file is computed with ONNX Runtime, found through
STANDIN_PACKAGES (a folder of packages). Otherwise only the standard library is used, and little of it: this
program is started hundreds of times.

The environment says what it plays: STANDIN_VERSION, and STANDIN_FAULTS, a folder in which a file
named after a fault makes it happen (a number inside: that many times).
"""

import os
import struct
import sys
import time

VERSION = tuple(int(part) for part in os.environ.get("STANDIN_VERSION", "8.2.1").split("."))
FAULTS = os.environ.get("STANDIN_FAULTS", "/nonexistent")

OUT_OF_MEMORY = "[TRT] 1: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)"

BUILD = {"--onnx", "--saveEngine", "--timingCacheFile", "--noTF32"}
RUN = {"--loadEngine", "--warmUp", "--duration", "--iterations", "--exportTimes", "--exportProfile"}
RUN |= {"--loadInputs", "--exportOutput"}


def known_options() -> set[str]:
    options = BUILD | RUN | {"--help"}
    options |= {"--memPoolSize"} if VERSION >= (8, 4) else {"--workspace"}
    options |= {"--skipInference"} if VERSION >= (8, 6) else {"--buildOnly"}
    if VERSION >= (11,):
        return (options - {"--noTF32"}) | {"--includeDataTransfers", "--noCudaGraph", "--stronglyTyped"}
    return options | {
        "--fp16",
        "--int8",
        "--noDataTransfers",
        "--useSpinWait",
        "--useCudaGraph",
        "--separateProfileRun",
    }


def has_fault(name: str) -> bool:
    path = f"{FAULTS}/{name}"
    if not os.access(path, os.R_OK):
        return False
    left = read(path).decode().strip()
    if left:
        if int(left) <= 0:
            return False
        write(path, str(int(left) - 1))
    return True


def read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes longer to load than all of this
        return file.read()


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def header() -> str:
    major, minor, patch = VERSION
    if major < 10:
        return f"TensorRT.trtexec [TensorRT v{major * 1000 + minor * 100 + patch}] # " + " ".join(sys.argv)
    return f"TensorRT.trtexec [TensorRT v{major * 10000 + minor * 100 + patch}] [b26] # " + " ".join(sys.argv)


def info(text: str = "") -> None:
    say(f"[11/20/2021-12:00:00] [I] {text}")


def error(text: str) -> None:
    sys.stderr.write(f"[11/20/2021-12:00:00] [E] {text}" + "\n")


def fail(*lines: str) -> None:
    for line in lines:
        error(line)
    say(f"&&&& FAILED {header()}")
    sys.exit(1)


def main() -> None:
    options = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    say(f"&&&& RUNNING {header()}")
    if "--help" in options:
        say("=== Model Options ===\n  --onnx=<file>               ONNX model")
        return
    unknown = sorted(options.keys() - known_options())
    if unknown:
        fail(*(f"Unknown option: {name} {options[name]}" for name in unknown))
    info("=== Device Information ===")
    info("Selected Device: NVIDIA Tegra X1")
    info("Compute Capability: 5.3")
    info("Device Global Memory: 3964 MiB")
    info(f"TensorRT version: {''.join(f'{p}' if i == 0 else f'{p:02d}' for i, p in enumerate(VERSION))}")
    if "--onnx" in options:
        build(options)
    else:
        run(options)
    say(f"&&&& PASSED {header()}")


def build(options: dict[str, str]) -> None:
    if has_fault("build-hang"):
        time.sleep(600)
    model = read(options["--onnx"])
    info("Start parsing network model")
    say("[11/20/2021-12:00:00] [W] [TRT] onnx2trt_utils.cpp:366: Your ONNX model has been generated with INT64 weights")
    if has_fault("build-parse"):
        fail(
            '[TRT] ModelImporter.cpp:773: While parsing node number 3 [Mod -> "y"]:',
            "[TRT] ModelImporter.cpp:779: ERROR: builtin_op_importers.cpp:4870 In function importFallbackPlugin:",
            "Failed to parse onnx file",
            "Engine set up failed",
        )
    say("[11/20/2021-12:00:00] [W] [TRT] Skipping tactic 3 due to insufficient memory on requested size of 1048576")
    if has_fault("build-oom"):
        fail(OUT_OF_MEMORY, "Engine set up failed")
    if has_fault("build-killed"):
        os.kill(os.getpid(), 9)
    if has_fault("build-nospace"):
        fail("Could not save engine: No space left on device")
    if has_fault("build-cut"):
        sys.exit(0)
    info("[TRT] [MemUsageStats] Peak memory usage of TRT CPU/GPU memory allocators: CPU 113 MiB, GPU 1112 MiB")
    info(f"Engine built in {os.environ.get('STANDIN_BUILD_S', '184.708')} sec.")
    precision = "fp16" if "--fp16" in options or VERSION >= (11,) else "fp32"
    if has_fault("build-other"):
        model = other_model(model)
    if not has_fault("build-noengine"):
        head = f"{VERSION} {len(model)} {precision} {digest(model)}\n".encode()
        with open(options["--saveEngine"], "wb") as file:  # noqa: PTH123
            file.write(head + model)
    if "--timingCacheFile" in options:
        write(options["--timingCacheFile"], "cache")


def other_model(model: bytes) -> bytes:
    """Return a model of the same shapes with other weights: every matrix has its rows in the opposite order."""
    sys.path.append(os.environ["STANDIN_PACKAGES"])
    import onnx

    found = onnx.load_model_from_string(model)
    for tensor in found.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), tensor.name))
    return bytes(found.SerializeToString())


def run(options: dict[str, str]) -> None:
    kind = "profile" if "--exportProfile" in options else "infer" if "--exportOutput" in options else "measure"
    head, _, model = read(options["--loadEngine"]).partition(b"\n")
    version, _, rest = head.decode().partition(") ")
    num_bytes, precision, sha256 = rest.split()
    if digest(model) != sha256:
        fail("Error[1]: Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.")
    if version + ")" != str(VERSION):
        fail("[TRT] 6: The engine plan file is not compatible with this version of TensorRT, please rebuild.")
    if has_fault(f"{kind}-hang"):
        time.sleep(600)
    if has_fault(f"{kind}-oom"):
        fail(OUT_OF_MEMORY)
    info("Engine loaded in 3.86437 sec.")
    if VERSION >= (8, 2):
        managed = 20 + int(num_bytes) // 2**20
        info(
            "[TRT] [MemUsageChange] TensorRT-managed allocation in IExecutionContext creation: "
            f"CPU +0, GPU +20, now: CPU 0, GPU {managed} (MiB)"
        )
    if "--useCudaGraph" in options and has_fault("graph"):
        say("[11/20/2021-12:00:00] [W] The built TensorRT engine contains operations that are not permitted")
        say("[11/20/2021-12:00:00] [W] The specified --useCudaGraph flag has been ignored. The inference will run")
    if kind == "infer":
        infer(model, options)
    rows, num_warmup = make_rows(int(num_bytes), options, precision=precision, noisy=has_fault("noisy"))
    if kind == "profile":
        write_profile(rows, options["--exportProfile"])
    print_summary(rows[num_warmup:], num_warmup, int(options["--warmUp"]))
    if "--exportTimes" in options:
        write_times(rows if VERSION < (8, 5) else rows[num_warmup:], options["--exportTimes"])
    if has_fault(f"{kind}-cut"):
        sys.exit(0)


def digest(model: bytes) -> str:
    import hashlib

    return hashlib.sha256(model).hexdigest()


def infer(model: bytes, options: "dict[str, str]") -> None:
    """Compute the outputs of the engine's own ONNX file on the given raw inputs, as trtexec writes them.

    Faults make it what a person may get wrong on the way to a board: `infer-bgr` reads channels in the other
    order, `infer-endian` numbers from the other end, `infer-nan` overflows; `infer-cut` stops while writing.
    """
    sys.path.append(os.environ["STANDIN_PACKAGES"])
    # ONNX Runtime leaves a file `.ses` in the folder for temporary files, and a board has no ONNX Runtime.
    os.environ["TMPDIR"] = f"{FAULTS}/../home"
    import numpy as np
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    wanted = {port.name: port for port in session.get_inputs()}
    feed = {}
    for item in options["--loadInputs"].split(","):
        name, _, path = item.partition(":")
        if name not in wanted:
            fail(f'Cannot find input tensor with name "{name}" in the engine bindings!')
        port = wanted[name]
        kind = np.dtype({"tensor(float)": "<f4", "tensor(uint8)": "u1"}[port.type])
        raw = read(path)
        if len(raw) != kind.itemsize * int(np.prod(port.shape)):
            fail(f"Note: expected: {kind.itemsize * int(np.prod(port.shape))} bytes, got: {len(raw)} bytes")
        if has_fault("infer-endian"):
            kind = kind.newbyteorder(">")
        values = np.frombuffer(raw, kind).reshape(port.shape).astype(kind.newbyteorder("="))
        feed[name] = values[:, ::-1].copy() if has_fault("infer-bgr") else values
    with np.errstate(all="ignore"):
        outputs = session.run(None, feed)
    text = "[\n"
    for i, (port, values) in enumerate(zip(session.get_outputs(), outputs, strict=True)):
        numbers = [f"{value:.6g}" for value in values.ravel()]
        if has_fault("infer-nan"):
            numbers[0] = "-nan"
        text += ("  " if i == 0 else ", ") + f'{{ "name" : "{port.name}"\n  , "dimensions" : "'
        text += "x".join(map(str, values.shape)) + '"\n  , "values" : [ ' + ", ".join(numbers) + " ]\n  }\n"
    text += "]\n"
    write(options["--exportOutput"], text[: len(text) // 2] if has_fault("infer-cut") else text)


def base_ms(num_bytes: int, precision: str) -> float:
    """0.4 ms to launch, and 2 ms per MiB of model, half of that in FP16."""
    return 0.4 + num_bytes / 2**20 * (1.0 if precision == "fp16" else 2.0)


def make_rows(
    num_bytes: int, options: "dict[str, str]", *, precision: str, noisy: bool
) -> "tuple[list[dict[str, float]], int]":
    seed, heats = num_bytes, has_fault("heats")
    h2d, d2h = (0.0, 0.0) if is_without_transfers(options) else (0.0598, 0.0083)
    rows: list[dict[str, float]] = []
    now, num_warmup = 5.0, 0
    end = int(options["--warmUp"]) + int(options["--duration"]) * 1000
    while now < end or len(rows) - num_warmup < int(options["--iterations"]):
        spread = 0.4 if noisy else 0.002
        seed = (seed * 1103515245 + 12345) % 2**31  # the C standard's example generator
        compute = base_ms(num_bytes, precision) * (1 + spread * seed / 2**31)
        if heats:  # a third slower after five minutes of its own clock
            compute *= 1 + min(1.0, now / 300_000) / 3
        start = now + h2d
        done = start + compute
        if start < int(options["--warmUp"]):
            num_warmup += 1
        rows.append(
            {
                "startEnqMs": now - 0.1, "endEnqMs": now + 0.2 * compute, "startH2dMs": now, "endH2dMs": start,
                "startComputeMs": start, "endComputeMs": done, "startD2hMs": done, "endD2hMs": done + d2h,
                "h2dMs": h2d, "computeMs": compute, "d2hMs": d2h, "latencyMs": h2d + compute + d2h,
                "endToEndMs": h2d + compute + d2h + 0.05,
            }
        )  # fmt: skip
        # A stand-in prints no more than it needs: long pauses instead of thousands of inferences.
        now = done + d2h + max(0.05, end / 60)
    if heats:
        write(f"{FAULTS}/../sysroot/sys/class/thermal/thermal_zone0/temp", "61000\n")
        write(f"{FAULTS}/../sysroot/sys/devices/gpu.0/devfreq/57000000.gpu/cur_freq", "614400000\n")
    return rows, num_warmup


def is_without_transfers(options: dict[str, str]) -> bool:
    return "--includeDataTransfers" not in options if VERSION >= (11,) else "--noDataTransfers" in options


def print_summary(rows: list[dict[str, float]], num_warmup: int, warmup_ms: int) -> None:
    info("Starting inference")
    info(f"Warmup completed {num_warmup} queries over {warmup_ms} ms")
    info(f"Timing trace has {len(rows)} queries over {(rows[-1]['endD2hMs'] - rows[0]['startH2dMs']) / 1000:.6g} s")
    info()
    info("=== Trace details ===")
    info("Trace averages of 10 runs:")
    info()
    info("=== Performance summary ===")
    info(f"Throughput: {1000 / base(rows):.6g} qps")
    if has_fault("summary-cut"):
        sys.exit(0)
    summary("Latency", [row["latencyMs"] for row in rows])
    if VERSION < (8, 5):
        summary("End-to-End Host Latency", [row["endToEndMs"] for row in rows])
    summary("Enqueue Time", [row["endEnqMs"] - row["startEnqMs"] for row in rows])
    summary("H2D Latency", [row["h2dMs"] for row in rows])
    summary("GPU Compute Time", [row["computeMs"] for row in rows])
    summary("D2H Latency", [row["d2hMs"] for row in rows])
    info("Explanations of the performance metrics are printed in the verbose logs.")
    info()


def base(rows: list[dict[str, float]]) -> float:
    return sum(row["latencyMs"] for row in rows) / len(rows)


def summary(name: str, values: list[float]) -> None:
    ordered = sorted(values)
    n = len(ordered)
    median = ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2
    percents = (99,) if VERSION < (8, 5) else (90, 95, 99)
    tail = ", ".join(f"percentile({p}%) = {ordered[rank(p, n)]:.6g} ms" for p in percents)
    info(
        f"{name}: min = {ordered[0]:.6g} ms, max = {ordered[-1]:.6g} ms, mean = {sum(values) / n:.6g} ms, "
        f"median = {median:.6g} ms, {tail}"
    )


def rank(percent: int, n: int) -> int:
    """Which of n ascending values trtexec prints as a percentile: C++ floats round after every operation."""
    return max(n - 1 - int(float32(float32(1 - float32(percent / 100)) * n)), 0)


def float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def write_times(rows: list[dict[str, float]], path: str) -> None:
    names = [name for name in rows[0] if name != "endToEndMs" or VERSION < (8, 5)]
    lines = ["{ " + ", ".join(f'"{name}" : {row[name]:.6g}' for name in names) + " }" for row in rows]
    if has_fault("times-rows"):
        lines = lines[: len(lines) // 2]
    if has_fault("times-values"):
        lines = [line.replace('"computeMs" : ', '"computeMs" : 1') for line in lines]
    text = "[\n  " + "\n, ".join(lines) + "\n]\n"
    write(path, text[: len(text) // 2] if has_fault("times-cut") else text)


def write_profile(rows: list[dict[str, float]], path: str) -> None:
    count, total = len(rows), 1.3 * sum(row["computeMs"] for row in rows)
    shares = {
        "Reformatting CopyNode for Input Tensor 0 to /patch_embed/Conv": 0.05,
        "/patch_embed/Conv": 0.15,
        "/blocks.0/attn/MatMul + /blocks.0/attn/Add": 0.5,
        "(Unnamed Layer* 48) [Softmax]": 0.1,
        "PWN(/blocks.0/mlp/Erf)": 0.2,
    }
    median = ', "medianMs" : {m:.6g}' if VERSION >= (8, 5) else ""
    lines = [f'  {{ "count" : {count} }}']
    for name, share in shares.items():
        ms = share * total
        lines.append(
            f', {{ "name" : "{name}", "timeMs" : {ms:.6g}, "averageMs" : {ms / count:.6g}'
            + median.format(m=ms / count)
            + f', "percentage" : {100 * share:.6g} }}'
        )
    text = "[\n" + "\n".join(lines) + "\n]\n"
    write(path, text[: len(text) // 2] if has_fault("profile-cut-file") else text)


if __name__ == "__main__":
    main()
