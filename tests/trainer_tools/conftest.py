"""Commands as processes, and their environment."""

from cli.conftest import plain_environment, start

__all__ = ["plain_environment", "start"]
