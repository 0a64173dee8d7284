"""Latency and accuracy predictors, their intervals and their report cards."""
