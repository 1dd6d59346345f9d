"""Ingest: from poll answers to commits.

A supervisor keeps one session open and fills the inbox; the pipeline takes answers out of it, puts changes back into order, finds out
what they mean and commits.
"""
