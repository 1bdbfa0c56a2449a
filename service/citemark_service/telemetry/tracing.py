"""From settings to a tracer. Only here is it decided whether OpenTelemetry's SDK is imported."""

from typing import Final
from urllib.parse import urlsplit

from citemark_service.errors import SettingsError
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.tracer import Tracer, Untraced

_INSTALL: Final = "pip install 'citemark[service,otel]'"
_PATH: Final = "/v1/traces"


def tracer_of(settings: Settings, metrics: Metrics) -> Tracer:
    """A tracer that exports to `settings.otlp_endpoint`; one that is off where there is none.

    Raises:
        SettingsError: the endpoint is no HTTP URL, or the SDK is not installed.
    """
    if settings.otlp_endpoint is None:
        return Untraced()
    url = traces_url(settings.otlp_endpoint)
    try:
        from citemark_service.telemetry.otel import OtelTracer  # noqa: PLC0415  needs an extra
    except ImportError as error:
        raise SettingsError(f"otlp_endpoint needs {_INSTALL}") from error
    return OtelTracer(url, ratio=settings.otlp_sample_ratio, metrics=metrics)


def traces_url(endpoint: str) -> str:
    """Where spans are posted: the endpoint as it is where it names that path, else below it.

    Raises:
        SettingsError: it is no HTTP URL with a host.
    """
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError as error:
        raise SettingsError(f"otlp_endpoint: {error}") from error
    if not usable:
        raise SettingsError("otlp_endpoint: must be http://HOST:PORT or https://HOST:PORT")
    return endpoint if parts.path.endswith(_PATH) else endpoint.rstrip("/") + _PATH
