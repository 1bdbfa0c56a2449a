"""Metrics whose figures a test can read."""

from collections.abc import Iterable

from citemark_service.telemetry.metrics import Metrics


class ReadableMetrics(Metrics):
    def sample(self, name: str, **labels: str) -> float | None:
        """The value of `citemark_NAME`; None where nothing has been counted yet."""
        return self.registry.get_sample_value(f"citemark_{name}", labels)

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples with these labels."""
        samples = (each for family in self.registry.collect() for each in family.samples)
        return sum(
            each.value
            for each in samples
            if each.name == f"citemark_{name}" and labels.items() <= each.labels.items()
        )

    def counts(self, name: str, label: str, values: Iterable[str]) -> dict[str, int]:
        return {value: int(self.sample(name, **{label: value}) or 0) for value in values}
