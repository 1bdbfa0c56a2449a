"""Files of rows for commands, without the developer's settings."""

from cli.conftest import clean_environment, rows

__all__ = ["clean_environment", "rows"]
