"""Delivery of the journal to handlers, each of them at its own pace.

::

    loading ─▶ dispatcher ─▶ subscription ─┬▶ journal_reader, replays, redrive ─▶ lanes (order per run)
                                           ├▶ worker_pool ─▶ attempts ─▶ invocation (the call), retry (the decision)
                                           ├▶ control ─▶ handler_state (why a handler is stopped)
                                           └▶ cursor_saver ─▶ cursor (what is acknowledged)

``cursor``, ``lanes``, ``retry`` and ``handler_state`` are pure: they know no clock, no store and no asyncio.
"""
