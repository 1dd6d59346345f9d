"""Where the truth is kept. One contract (``consumer.ports.store.Store``), one conformance suite, several implementations."""
