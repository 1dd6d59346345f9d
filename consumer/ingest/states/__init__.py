"""Record states of a tenure: cache, look-ups over REST, and the repository that owns both."""
