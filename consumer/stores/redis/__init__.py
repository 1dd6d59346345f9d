"""Production store: Redis 7 or newer, or Valkey."""
