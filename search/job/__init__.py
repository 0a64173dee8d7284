"""The search job and its steps: from a request to a bundle that is recorded."""
