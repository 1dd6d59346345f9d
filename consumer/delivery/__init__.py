"""From the journal to the handlers: each at its own pace, each event until it is settled.

::

    dispatcher ─▶ subscription ─▶ lanes (order per run)      loading ─▶ spec
                       │    └───▶ retry (what a failure means)
                       └────────▶ place_keeper ─▶ place (what is settled)

``place``, ``lanes``, ``retry`` and ``pace`` are pure: they know no clock, no store and no asyncio.
"""
