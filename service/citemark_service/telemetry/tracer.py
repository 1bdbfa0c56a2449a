"""What the service tells a tracer, and the tracer that is off."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType, TracebackType
from typing import Final, Literal, Protocol, Self

SpanName = Literal[
    "rollout", "parse", "criteria", "citations", "score", "ledger", "prime", "queue", "judge call"
]
Kind = Literal["internal", "client"]
Facts = Mapping[str, str | int | float | bool | None]
"""Attributes by name; those that are None are left out. Never a rollout's text."""

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Span(Protocol):
    """One thing that takes time, while it does."""

    @property
    def recording(self) -> bool:
        """Whether what is noted goes anywhere."""
        ...

    @property
    def trace_id(self) -> str | None:
        """The trace as 32 hexadecimal digits; None where there is none."""
        ...

    def note(self, facts: Facts) -> None:
        """Add attributes."""
        ...

    def rename(self, name: str) -> None:
        """Give it a name that was not known at its beginning; from a closed set."""
        ...

    def fail(self, kind: str) -> None:
        """Mark it as failed; `kind` is from a closed set."""
        ...


class Tracer(Protocol):
    """Opens spans; the one that is open in this task is the parent of the next.

    Implementations are quick, never wait for what they export to, and never raise. An error that
    leaves a span marks it as failed with the error's type; its message, which could quote a
    rollout, is not recorded. Entered while the service runs.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[Span]:
        """The span of a request, in the caller's trace where `headers` name one."""
        ...

    def span(self, name: SpanName, kind: Kind = "internal") -> AbstractContextManager[Span]:
        """A span within the one that is open; within none, the first of its own trace."""
        ...

    def headers(self) -> Mapping[str, str]:
        """What to send along so that the receiver's spans belong to the one that is open."""
        ...


class _Nothing:
    """A span that is not there, and the context of it."""

    recording: Final = False
    trace_id: Final = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def note(self, facts: Facts) -> None:
        """Ignore."""

    def rename(self, name: str) -> None:
        """Ignore."""

    def fail(self, kind: str) -> None:
        """Ignore."""


class Untraced:
    """Traces nothing: each span is the same empty one."""

    def __init__(self) -> None:
        self._nothing = _Nothing()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing was begun."""

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[Span]:  # noqa: ARG002
        """The empty span."""
        return self._nothing

    def span(
        self,
        name: SpanName,  # noqa: ARG002  the protocol's
        kind: Kind = "internal",  # noqa: ARG002
    ) -> AbstractContextManager[Span]:
        """The empty span."""
        return self._nothing

    def headers(self) -> Mapping[str, str]:
        """None."""
        return _NO_HEADERS
