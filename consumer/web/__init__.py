"""What the service shows over HTTP: probes and metrics to whoever asks, everything else to who has the token."""
