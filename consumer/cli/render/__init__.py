"""Rendering for the terminal: tables, event lines, the live view."""
