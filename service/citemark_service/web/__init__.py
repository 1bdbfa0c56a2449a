"""The HTTP side: intake, limits, streams, problems and routes."""
