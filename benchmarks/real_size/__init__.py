"""Seconds of a search by stage at real size: this build run whole, an old one by its units."""
