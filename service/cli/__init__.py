"""The commands ``nuwa`` and ``nuwa-search``."""
