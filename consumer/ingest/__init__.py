"""Ingest: from poll answers to commits.

A supervisor keeps one session open and fills the buffer; the loop takes answers out of it, puts changes back into order, decides what they
mean and commits.
"""
