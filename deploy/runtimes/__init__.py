"""Runtimes that execute an exported model: ONNX Runtime, and torch as a second opinion with other rounding."""
