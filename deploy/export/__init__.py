"""Export of a plain ViT to ONNX graphs that edge runtimes take, static and with as few kernels as possible."""
