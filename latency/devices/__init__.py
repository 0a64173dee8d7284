"""Devices that say how long an ONNX model takes on them."""
