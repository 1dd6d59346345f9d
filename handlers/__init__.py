"""The built-in handlers, each written against ``consumer`` alone, so that each is also an example to copy."""
