"""Built-in handlers.

Each handler imports only the public API of ``consumer``, so each is also an example to copy.
"""
