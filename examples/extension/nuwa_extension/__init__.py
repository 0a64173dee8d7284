"""A kind of device and a runtime for nuwa-search."""
