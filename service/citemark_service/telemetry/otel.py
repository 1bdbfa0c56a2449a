"""The tracer over OpenTelemetry's SDK, with a provider of its own and none that is global.

Endpoint, sampling and limits are this service's settings. What else the exporter needs to reach
a collector, its headers, certificates and compression, and the name and attributes of the
resource, the SDK itself reads from the standard variables (`OTEL_EXPORTER_OTLP_HEADERS`,
`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, …), as whoever runs a collector expects.
"""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from types import TracebackType
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from citemark_service.telemetry.export import QUEUE, BoundedProcessor, CountingExporter
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.tracer import Facts, Kind, Span, SpanName

_KINDS: Final[Mapping[Kind, trace.SpanKind]] = {
    "internal": trace.SpanKind.INTERNAL,
    "client": trace.SpanKind.CLIENT,
}
_CARRIED: Final = ("traceparent", "tracestate")
_ATTRIBUTES: Final = 48
_ATTRIBUTE_CHARS: Final = 256
_CLOSE_S: Final = 2.0


class OtelTracer:
    """See `Tracer`. Spans of a caller's trace are sampled as the caller says, others by `ratio`;
    at most `queue` ended ones, 512 or more, wait for the collector.
    """

    def __init__(self, url: str, *, ratio: float, metrics: Metrics, queue: int = QUEUE) -> None:
        self._exporter = CountingExporter(url, metrics=metrics, queue=queue)
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(ratio),
            resource=_resource(),
            span_limits=SpanLimits(
                max_span_attributes=_ATTRIBUTES, max_span_attribute_length=_ATTRIBUTE_CHARS
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BoundedProcessor(self._exporter, queue=queue))
        self._tracer = self._provider.get_tracer("citemark", version("citemark"))
        self._propagator = TraceContextTextMapPropagator()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Export what waits, for a few seconds at most; the rest counts as lost."""
        impatience = threading.Timer(_CLOSE_S, self._exporter.give_up)
        impatience.start()
        try:
            await asyncio.to_thread(self._provider.shutdown)
        finally:
            impatience.cancel()

    def request(self, headers: Mapping[str, str]) -> AbstractContextManager[Span]:
        """See `Tracer.request`."""
        carrier = {name: headers[name] for name in _CARRIED if name in headers}
        parent = self._propagator.extract(carrier, Context())
        return _Open(self._tracer, "request", trace.SpanKind.SERVER, parent)

    def span(self, name: SpanName, kind: Kind = "internal") -> AbstractContextManager[Span]:
        """See `Tracer.span`."""
        return _Open(self._tracer, name, _KINDS[kind], None)

    def headers(self) -> Mapping[str, str]:
        """See `Tracer.headers`."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier


class _Open:
    """A span from its beginning to its end; it begins when it is entered."""

    def __init__(
        self, tracer: trace.Tracer, name: str, kind: trace.SpanKind, parent: Context | None
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._kind = kind
        self._parent = parent

    def __enter__(self) -> Self:
        self._span = self._tracer.start_span(self._name, context=self._parent, kind=self._kind)
        self._token = attach(trace.set_span_in_context(self._span, self._parent))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        detach(self._token)
        if kind is not None:
            self.fail(kind.__name__)
        self._span.end()

    @property
    def recording(self) -> bool:
        return self._span.is_recording()

    @property
    def trace_id(self) -> str | None:
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def note(self, facts: Facts) -> None:
        if self._span.is_recording():
            for name, fact in facts.items():
                if fact is not None:
                    self._span.set_attribute(name, fact)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.StatusCode.ERROR)


def _resource() -> Resource:
    """This service's, with the standard variables over it."""
    own = Resource.create({"service.name": "citemark", "service.version": version("citemark")})
    return own.merge(OTELResourceDetector().detect())
