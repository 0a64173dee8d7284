"""The version of this program; ``nuwa_search.__version__`` is the same."""

__version__ = "0.2.0"
