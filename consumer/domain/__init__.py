"""Pure model of cadences: objects, change events, state machines, lifecycle events. No clock, no I/O, no asyncio."""
