"""Reconcile tasks: triggers, fetching from Salesforce, comparing with known states, applying the result."""
