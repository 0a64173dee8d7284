"""Deployment: fine-tuning, export, runtimes, engines, verification and certificates."""
