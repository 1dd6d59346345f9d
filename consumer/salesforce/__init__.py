"""Salesforce: authentication, CometD stream, REST and Sales Engagement actions.

All knowledge of Salesforce's protocols and messages is here; the rest of the service uses the ports of :mod:`consumer.ports`.
"""
