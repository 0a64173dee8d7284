"""ONNX opsets that models are exported at, and what the export writes from which on."""

MIN_OPSET = 13  # the newest that the parser of TensorRT 8.2 takes; nothing older is a target
MAX_OPSET = 24  # the newest that the parser of TensorRT 10.15 takes

LAYER_NORM_OPSET = 17  # first opset with a LayerNormalization operator
AXES_INPUT_OPSET = 18  # reductions take their axes as an input from here on, before as an attribute
GELU_NODE_OPSET = 20  # first opset with a Gelu operator

NODE_OPSETS = {"LayerNormalization": LAYER_NORM_OPSET, "Gelu": GELU_NODE_OPSET}
"""Operators that are written as one node from an opset on, and in simpler ones before."""
