"""Processes that take searches and profiles from the database and do them."""
