"""A kernel-level time model of TensorRT on Jetson boards, working on any exported ONNX graph."""
