"""The command line in this process, and files of rows."""

from cli.conftest import clean_environment, cli, rows

__all__ = ["clean_environment", "cli", "rows"]
