"""Boards in network namespaces of their own, a coordinator in another: predicted and measured, and boards killed."""
