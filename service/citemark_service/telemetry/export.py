"""The way of ended spans to a collector: a bounded queue, a thread, and a count of what is lost.

The SDK's own batches and exporter do the work. They would tell of each loss in the log, and count
none; what is added here is the count, and one line when trouble begins and one when it is over.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from citemark_service.telemetry.metrics import Metrics

QUEUE: Final = 16_384
"""Spans that wait for the collector; a step of 1024 rollouts that end at once makes 10,000."""
_BATCH: Final = 512
_DELAY_MS: Final = 1_000
_EXPORT_S: Final = 3.0
"""For one batch with the exporter's retries; a stopping service waits for it."""
_SDK_LOG: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

_log = logging.getLogger("citemark.tracing")


class _Reasons(logging.Filter):
    """Keeps what the SDK's exporter complains of out of the log, and its first words: the last
    ones only say that it gave up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        self.first = self.first or record.getMessage()
        return False


class CountingExporter(SpanExporter):
    """Exports over OTLP/HTTP; used by one thread, but for `admit` and `give_up`."""

    def __init__(self, url: str, *, metrics: Metrics, queue: int) -> None:
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=_EXPORT_S)
        self._metrics = metrics
        self._queue = queue
        self._reasons = _Reasons()
        self._troubled = False
        self._lock = threading.Lock()
        self._waiting = 0
        logging.getLogger(_SDK_LOG).addFilter(self._reasons)

    def admit(self) -> bool:
        """Whether there is room for one more span; without it the span is lost."""
        with self._lock:
            room = self._waiting < self._queue
            self._waiting += room
        if not room:
            self._metrics.spans(sent=0, lost=1)
        return room

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch, once, and say in counts and log what came of it."""
        self._reasons.first = None
        result = self._exporter.export(spans)
        with self._lock:
            self._waiting -= len(spans)
        if result is SpanExportResult.SUCCESS:
            self._metrics.spans(sent=len(spans), lost=0)
            self._recovered()
        else:
            self._metrics.spans(sent=0, lost=len(spans))
            self._failed()
        return result

    def give_up(self) -> None:
        """Send no more; what waits fails at once, and no pause before a retry is waited out."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's

    def shutdown(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's
        logging.getLogger(_SDK_LOG).removeFilter(self._reasons)

    def _failed(self) -> None:
        if not self._troubled:
            _log.warning("traces are lost, rewards go on: %s", self._reasons.first)
        self._troubled = True

    def _recovered(self) -> None:
        if self._troubled:
            _log.info("traces are exported again")
        self._troubled = False


class BoundedProcessor(SpanProcessor):
    """Hands ended spans to the SDK's batches as long as there is room for them."""

    def __init__(self, exporter: CountingExporter, *, queue: int) -> None:
        self._exporter = exporter
        self._closed = False
        self._batches = BatchSpanProcessor(
            exporter,
            max_queue_size=queue,
            max_export_batch_size=_BATCH,
            schedule_delay_millis=_DELAY_MS,
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing to do."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue it; takes microseconds, whatever the collector does."""
        sampled = span.context is not None and span.context.trace_flags.sampled
        if sampled and not self._closed and self._exporter.admit():
            self._batches.on_end(span)

    def shutdown(self) -> None:
        """Export what waits; blocks."""
        self._closed = True
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # the SDK's

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits; blocks."""
        return self._batches.force_flush(timeout_millis)
