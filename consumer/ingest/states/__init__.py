"""Record states of a tenure.

They consist of a cache, look-ups over REST, and the repository that owns both.
"""
