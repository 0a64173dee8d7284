"""The library: every verb of the command line as a call, with answers as values."""
