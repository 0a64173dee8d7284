"""TensorRT 8.0 to 11: what each version takes, what its `trtexec` is told, and what it answers."""
