"""Malformed inputs for every reader of files and requests from outside, each fed in a process with bounds."""
