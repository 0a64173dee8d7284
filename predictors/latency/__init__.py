"""The latency predictor: a measured table, a model of launches and work, a fitted residual, an interval."""
