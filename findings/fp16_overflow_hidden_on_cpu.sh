#!/usr/bin/env bash
# ONNX Runtime's CPU provider hides an overflow of an FP16 model.
#
# One would guess: a graph whose every tensor is declared FLOAT16 computes in FP16, so running the
#   FP16 file on the CPU is a check of what FP16 does to the model before it goes to a board.
# What happens: most operators have no FP16 kernel on x86-64, so the session puts Cast nodes around
#   them and computes in FP32, with graph optimization switched off as well; the intermediate tensor is
#   no longer rounded to FP16. 1000 * 1000 / 2000 gives 500, though 1000000 is beyond the largest FP16
#   number (65504) and IEEE half arithmetic gives inf. No warning is given. The accuracy of an FP16
#   file on this provider is therefore that of FP32 arithmetic with FP16 weights.
# Versions: onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, CPython 3.11, Linux x86-64 (other
#   processors have more FP16 kernels).
# Source: onnxruntime/core/optimizer/insert_cast_transformer.cc in microsoft/onnxruntime; the
#   maintainers' answer in https://github.com/microsoft/onnxruntime/issues/11831.
# Output seen:
#   numpy, FP16 arithmetic: [inf]
#   CPU provider, ORT_DISABLE_ALL: [500.] float16, ran Cast Cast Cast Mul Div Cast
#   CPU provider, ORT_ENABLE_ALL: [500.] float16, ran Cast Mul Div Cast
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$dir"
"$dir/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

UP, DOWN = np.float16(1000), np.float16(2000)
scalars = [numpy_helper.from_array(value.reshape(()), name) for name, value in (("up", UP), ("down", DOWN))]
graph = helper.make_graph(
    [helper.make_node("Mul", ["x", "up"], ["big"]), helper.make_node("Div", ["big", "down"], ["y"])],
    "overflow",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1])],
    scalars,
    value_info=[helper.make_tensor_value_info("big", TensorProto.FLOAT16, [1])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
x = np.array([1000], np.float16)

with np.errstate(over="ignore"):
    half = x * UP / DOWN
print("numpy, FP16 arithmetic:", half)

hidden = not np.isfinite(half).any()
for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = "run.onnx"
    options.log_severity_level = 3  # else it warns that the written file is for this machine only
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    ran = [node.op_type for node in onnx.load("run.onnx").graph.node]
    print(f"CPU provider, {level}: {y} {y.dtype}, ran {' '.join(ran)}")
    hidden = hidden and bool(np.isfinite(y).all()) and "Cast" in ran
if not hidden:
    sys.exit("No longer so: the CPU provider shows the FP16 overflow.")
PY
