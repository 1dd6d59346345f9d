"""Embedded store: one SQLite file, no server."""
