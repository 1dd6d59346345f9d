"""HTTP server: public probes and metrics, and an API behind a token."""
