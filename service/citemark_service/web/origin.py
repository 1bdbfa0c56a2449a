"""Who asks: the caller between whom the judge's slots are shared out, and the priority."""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Header, Request

from citemark_schemas import Priority
from citemark_service.judges.tasks import Origin

_PRIORITIES: Final[Mapping[Priority, int]] = {"training": 0, "audit": 10}

CallerName = Annotated[
    str | None,
    Header(
        alias="X-Citemark-Caller",
        max_length=64,
        pattern=r"^[!-~]+$",
        description="Requests of one name share their part of the judge; the address by default.",
    ),
]
"""Printable ASCII without blanks, at most 64 characters; anything else is refused with 422."""


def origin_of(
    request: Request,
    caller: str | None,
    priority: Priority,
    *,
    run: str | None = None,
    step: int | None = None,
) -> Origin:
    """The origin of all tasks of a request; `caller` is what its header says."""
    address = "" if request.client is None else request.client.host
    return Origin(caller or address, _PRIORITIES[priority], run, step)
