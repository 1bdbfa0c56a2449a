"""What is being done right now: for whom a line of the log is, and a call to the judge.

It belongs to a task and to those that it starts, so that nothing has to be handed through code
that has no other use for it.
"""

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType
from typing import Final

Fact = str | int
Trail = Mapping[str, Fact]
"""`request`, `trace`, `rollout`, `ask` and `attempt`, as far as they are known."""

_TRAIL: Final[ContextVar[Trail]] = ContextVar("citemark.trail", default=MappingProxyType({}))


def trail() -> Trail:
    """The facts of this task."""
    return _TRAIL.get()


def begin(**facts: Fact) -> None:
    """Start anew with these, for the rest of the task: also for what is logged after it failed."""
    _TRAIL.set(facts)


class Bound:
    """A context in which these facts are added; they win over those of the same name."""

    __slots__ = ("_facts", "_token")

    def __init__(self, **facts: Fact) -> None:
        self._facts = facts

    def __enter__(self) -> None:
        self._token: Token[Trail] = _TRAIL.set({**_TRAIL.get(), **self._facts})

    def __exit__(self, *_: object) -> None:
        _TRAIL.reset(self._token)
