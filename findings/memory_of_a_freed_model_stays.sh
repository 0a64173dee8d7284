#!/usr/bin/env bash
# The rise of resident memory while a model loads is not the memory that the model needs.
#
# One would guess: resident memory after a session is made and run, less resident memory before, is
#   what the model takes, at least its weights; freeing the session first makes the next reading clean.
# What happens: on glibc, memory of a freed ONNX Runtime session stays with the process, and the next
#   model is put there. After a larger model was freed, a model with 24 MB of weights raises resident
#   memory by less than its weights, in some runs by 0.0 MB or less than nothing. With malloc_trim(0)
#   before each reading every rise is above the weights. Both ways load the same files in the same
#   order, each in a fresh process. Figures vary from run to run, so the script asks only that in five
#   processes some small model reads below its weights without malloc_trim, and none does with it.
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, CPython 3.11, glibc 2.36, Linux x86-64.
# Source: malloc_trim(3) and mallopt(3) of the Linux manual pages (M_TRIM_THRESHOLD,
#   M_MMAP_THRESHOLD, which grows with the blocks that were freed);
#   https://github.com/microsoft/onnxruntime/pull/32107 proposes a release at the end of a session.
# Output seen:
#   small: 24.0 MB of weights
#   large: 108.0 MB of weights
#   plain:       small 36.1 large 139.2 small 12.9 large 123.6 small 0.0 small -8.0 MB
#   malloc_trim: small 35.9 large 137.6 small 50.1 large 147.0 small 48.4 small 54.4 MB
#   plain:       small 35.9 large 130.7 small 17.1 large 110.5 small -19.6 small 1.2 MB
#   malloc_trim: small 35.9 large 139.8 small 52.2 large 147.0 small 47.4 small 50.1 MB
#   plain:       small 35.9 large 133.0 small 0.0 large 123.6 small -23.1 small 3.7 MB
#   malloc_trim: small 35.9 large 139.8 small 52.2 large 148.7 small 48.1 small 57.1 MB
#   plain:       small 35.9 large 128.5 small 0.0 large 26.6 small -22.1 small 5.7 MB
#   malloc_trim: small 35.9 large 137.6 small 52.4 large 151.5 small 48.4 small 49.1 MB
#   plain:       small 35.9 large 128.5 small -18.9 large 112.7 small -20.6 small 0.0 MB
#   malloc_trim: small 35.9 large 139.8 small 53.2 large 142.5 small 47.4 small 49.1 MB
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$dir"

cat > build.py <<'PY'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

for name, width, layers in (("small", 512, 24), ("large", 768, 48)):
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((width, width), dtype=np.float32) / width, f"w{i}")
        for i in range(layers)
    ]
    nodes = [helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"]) for i in range(layers)]
    ends = [helper.make_tensor_value_info(t, TensorProto.FLOAT, [64, width]) for t in ("t0", f"t{layers}")]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, f"{name}.onnx")
    print(f"{name}: {4 * width * width * layers / 2**20:.1f} MB of weights")
PY

cat > rises.py <<'PY'
import ctypes
import gc
import os
import sys

import numpy as np
import onnxruntime as ort

SMALL_MB = 24.0
trims = sys.argv[1] == "trim"
libc = ctypes.CDLL("libc.so.6")


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def rise_mb(name):
    gc.collect()
    if trims:
        libc.malloc_trim(0)
    before = resident_mb()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    session.run(None, {"t0": np.zeros(session.get_inputs()[0].shape, np.float32)})
    return resident_mb() - before


order = ["small", "large", "small", "large", "small", "small"]
rises = [rise_mb(name) for name in order]
print("malloc_trim:" if trims else "plain:      ", *(f"{n} {r:.1f}" for n, r in zip(order, rises)), "MB")
sys.exit(any(r < SMALL_MB for n, r in zip(order, rises) if n == "small"))
PY

"$dir/venv/bin/python" build.py
short_plain=0
short_trim=0
for _ in 1 2 3 4 5; do
    "$dir/venv/bin/python" rises.py plain || short_plain=1
    "$dir/venv/bin/python" rises.py trim || short_trim=1
done
if [ "$short_plain" = 0 ]; then
    echo "No longer so: without malloc_trim, every rise is at least the weights." >&2
    exit 1
fi
if [ "$short_trim" = 1 ]; then
    echo "No longer so: malloc_trim does not make every rise at least the weights." >&2
    exit 1
fi
