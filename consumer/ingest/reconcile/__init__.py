"""Reconcile tasks, from their triggers to the result.

The stages are triggers, fetching from Salesforce, comparing with known states, and applying the result.
"""
