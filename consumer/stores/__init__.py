"""Store adapters: one contract, one conformance suite, two implementations.

The contract is ``consumer.ports.store.Store``.
"""
