"""What skyrl_gym has of a registry."""

from typing import Any

registered: dict[str, tuple[str, dict[str, Any]]] = {}


def register(id: str, entry_point: str, kwargs: dict[str, Any]) -> None:  # noqa: A002  its name
    """Remember where an environment's class is."""
    registered[id] = (entry_point, kwargs)
