"""The latency predictor: a measured table, a model of overlap, a fitted residual, a calibrated interval."""
