"""Rendering for the terminal: tables, event lines, live view."""
