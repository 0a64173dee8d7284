"""Faults on purpose: killed processes, full disks, jumping clocks; what was lost, done twice or came out otherwise."""
