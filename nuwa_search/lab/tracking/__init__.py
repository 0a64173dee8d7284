"""Trackers: a job's numbers in TensorBoard, MLflow, Weights & Biases or trackio, through one callback."""
