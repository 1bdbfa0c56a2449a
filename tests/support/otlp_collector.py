"""A collector on a real socket: it decodes what is posted to it, or fails as a test wants."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Encoded
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from support.scripted_service import listening


@dataclass(frozen=True)
class Seen:
    """One span as it came in; ids in hexadecimal digits, `parent` empty for a root."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    begin: int
    """Nanoseconds, like `end`."""
    end: int
    facts: Mapping[str, Any]
    events: int


@dataclass
class Collector:
    """What came in, and how it answers."""

    url: str = ""
    status: int = 200
    hang_s: float = 0.0
    spans: list[Seen] = field(default_factory=list)
    resources: list[Mapping[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    posts: int = 0
    asked: threading.Event = field(default_factory=threading.Event)
    """Set once anything was posted."""

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        self.posts += 1
        self.asked.set()
        if self.hang_s:
            await anyio.sleep(self.hang_s)
        if self.status == 200:
            self.bodies.append(body)
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(_facts(group.resource.attributes))
                for scope in group.scope_spans:
                    self.spans += map(_parse_span, scope.spans)
        return Response(status_code=self.status, media_type="application/x-protobuf")

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def parent(self, span: Seen) -> Seen:
        (found,) = [other for other in self.spans if other.id == span.parent]
        return found

    def tree(self, root: Seen) -> dict[str, Any]:
        """A span's children by name, each again with theirs; a name that repeats is numbered."""
        children = [span for span in self.spans if span.parent == root.id]
        found: dict[str, Any] = {}
        names: list[str] = []
        for child in sorted(children, key=lambda span: span.begin):
            names.append(child.name)
            number = names.count(child.name)
            found[child.name if number == 1 else f"{child.name} {number}"] = self.tree(child)
        return found


def _facts(pairs: Any) -> dict[str, Any]:
    named = [(pair.key, pair.value, pair.value.WhichOneof("value")) for pair in pairs]
    return {key: None if which is None else getattr(value, which) for key, value, which in named}


def _parse_span(span: Encoded) -> Seen:
    return Seen(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        failed=span.status.code == 2,
        begin=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        facts=_facts(span.attributes),
        events=len(span.events),
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    app = Starlette(routes=[Route("/v1/traces", collector.answer, methods=["POST"])])
    with listening(app) as collector.url:
        yield collector
