"""Export of spans over OTLP/HTTP by OpenTelemetry's SDK, with a provider that is not global.

Endpoint, sampling and limits are this service's settings. The SDK itself reads the collector's
headers, certificates and compression, and the resource, from its standard variables
(`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, …).
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Tracer

from citemark_service.telemetry.logs import Outage
from citemark_service.telemetry.metrics import Metrics

_QUEUE: Final = 16_384  # a step of 1024 rollouts that end at once makes 10,000 spans
_EXPORT_S: Final = 3.0  # for one batch with the exporter's retries
_CLOSE_S: Final = 2.0

_log = logging.getLogger("citemark.tracing")
_sdk_log = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")


@contextmanager
def export_traces(
    url: str, *, ratio: float, metrics: Metrics, queue: int = _QUEUE
) -> Iterator[Tracer]:
    """A tracer whose spans are posted to `url`; those unsent 2 s after the block count as lost.

    Args:
        ratio: share of the traces begun here that are sampled; a caller's keep its decision.
        queue: ended spans that wait for the collector, 512 or more; beyond it they are lost.
    """
    exporter = _CountingExporter(url, metrics=metrics, queue=queue)
    _sdk_log.addFilter(exporter.silence)
    own = Resource.create({"service.name": "citemark", "service.version": version("citemark")})
    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(ratio),
        # The variables win over what is set here.
        resource=own.merge(OTELResourceDetector().detect()),
        span_limits=SpanLimits(max_span_attributes=48, max_span_attribute_length=256),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(_BoundedProcessor(exporter, queue=queue))
    try:
        yield provider.get_tracer("citemark", version("citemark"))
    finally:
        # `shutdown` blocks while the exporter retries; after this it fails at once.
        impatience = threading.Timer(_CLOSE_S, exporter.shutdown)
        impatience.start()
        provider.shutdown()
        impatience.cancel()
        _sdk_log.removeFilter(exporter.silence)


# The SDK's own would log each lost batch and count none.
class _BoundedProcessor(BatchSpanProcessor):
    """The SDK's batches; takes only spans that the exporter has room for."""

    def __init__(self, exporter: "_CountingExporter", *, queue: int) -> None:
        super().__init__(
            exporter, max_queue_size=queue, max_export_batch_size=512, schedule_delay_millis=1_000
        )
        self._admit = exporter.admit
        self._closed = False

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span; takes microseconds, whatever the collector does."""
        sampled = span.context is not None and span.context.trace_flags.sampled
        if sampled and not self._closed and self._admit():
            super().on_end(span)

    def shutdown(self) -> None:
        """Export queued spans; blocks."""
        self._closed = True
        super().shutdown()  # type: ignore[no-untyped-call]  # the SDK's


class _CountingExporter(SpanExporter):
    """Exports in the processor's thread; the other methods are called from any."""

    def __init__(self, url: str, *, metrics: Metrics, queue: int) -> None:
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=_EXPORT_S)
        self._sent, self._lost = metrics.trace_spans["exported"], metrics.trace_spans["lost"]
        self._queue = queue
        self._outage = Outage(_log)
        self._complaint: str | None = None
        self._lock = threading.Lock()
        self._waiting = 0

    def admit(self) -> bool:
        """Reserve room for a span; where there is none, count it as lost and return False."""
        with self._lock:
            room = self._waiting < self._queue
            self._waiting += room
        if not room:
            self._lost.inc()
        return room

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._complaint = None
        result = self._exporter.export(spans)
        with self._lock:
            self._waiting -= len(spans)
        if result is SpanExportResult.SUCCESS:
            self._sent.inc(len(spans))
            self._outage.end("traces are exported again")
        else:
            self._lost.inc(len(spans))
            self._outage.begin("traces are lost, rewards go on: %s", self._complaint)
        return result

    def shutdown(self) -> None:
        """Fail queued spans at once, without pauses for retries."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's

    def silence(self, record: logging.LogRecord) -> bool:
        """Keep the SDK's messages out of the log, and the first of each batch for the outage."""
        # The last message of a batch only says that the exporter gave up.
        self._complaint = self._complaint or record.getMessage()
        return False
