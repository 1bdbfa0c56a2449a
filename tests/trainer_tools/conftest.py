"""The environment of commands."""

from cli.conftest import plain_environment

__all__ = ["plain_environment"]
