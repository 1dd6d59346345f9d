"""Where the truth is kept. One contract (``consumer.ports.Store``), one conformance suite, several implementations."""
