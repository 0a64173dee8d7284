"""The HTTP API over the search database, and the page's files; the only place that knows FastAPI."""
