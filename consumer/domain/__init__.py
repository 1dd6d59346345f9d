"""Pure model of cadences: objects, changes, state machines, lifecycle events.

No clock, no I/O, no asyncio.
"""
