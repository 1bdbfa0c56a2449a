"""Metrics whose figures a test can read."""

from collections.abc import Iterable

from citemark_service.telemetry.metrics import Metrics


class ReadableMetrics(Metrics):
    def sample(self, name: str, **labels: str) -> float | None:
        """The value of `citemark_NAME`; None where nothing has been counted yet."""
        return self.registry.get_sample_value(f"citemark_{name}", labels)

    def counts(self, name: str, label: str, values: Iterable[str]) -> dict[str, int]:
        return {value: int(self.sample(name, **{label: value}) or 0) for value in values}
