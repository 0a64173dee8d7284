"""Where the work of a search runs: in this process and its children, or on the nodes of a Ray cluster."""
