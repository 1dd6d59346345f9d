"""Salesforce: signing in, the CometD stream, REST and the Sales Engagement actions.

Everything that knows how Salesforce words things lives here; the rest of the service sees the ports of :mod:`consumer.ports`.
"""
