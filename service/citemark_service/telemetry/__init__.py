"""Metrics, log lines and traces: what the service says of itself."""
