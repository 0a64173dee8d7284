"""What people and programs touch: the command line, the HTTP API, the page, and the wiring."""
