"""Shared vocabulary: arch, plain ViT, base, task, images, device, settings, errors.

Nothing here knows the database, latency tables, predictors, search, or the command line.
"""
