"""NeMo Gym's `/aggregate_metrics`: what many verified rows come to. Pure.

For every number of a row and of its `response.usage`: mean, max, min, median and sample standard
deviation, over all rows and for each task, under Gym's names (`mean/reward`). Rows with a true
`mask_sample` were not judged; they are counted, and their numbers are left out.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

_TASK: Final = "_ng_task_index"
_MASK: Final = "mask_sample"
_APART: Final = frozenset({_TASK, "_ng_rollout_index", _MASK})
"""Numbers that measure nothing."""
_LARGEST: Final = 1e150  # squares of these, summed up, are still finite

Row = Mapping[str, Any]


def aggregate_rows(rows: Sequence[Row]) -> dict[str, Any]:
    """Gym's `AggregateMetrics`: `group_level_metrics`, `agent_metrics` and `key_metrics`."""
    measured = [row for row in rows if not row.get(_MASK)]
    tasks: dict[int, list[Row]] = {}
    for row in measured:
        tasks.setdefault(_task(row), []).append(row)
    coverage = _coverage(rows, len(measured), tasks)
    overall = _statistics(measured)
    means = {key: value for key, value in overall.items() if key.startswith("mean/")}
    return {
        "group_level_metrics": [{**_statistics(tasks[at]), _TASK: at} for at in sorted(tasks)],
        "agent_metrics": {**overall, **coverage},
        "key_metrics": {**means, **coverage},
    }


def _coverage(rows: Sequence[Row], measured: int, tasks: Mapping[int, object]) -> dict[str, int]:
    """How much was measured; as in Gym, nothing is said where everything was."""
    if measured == len(rows):
        return {}
    return {
        "coverage/measured_rollouts": measured,
        "coverage/masked_rollouts": len(rows) - measured,
        "coverage/measured_tasks": len(tasks),
        "coverage/fully_masked_tasks": len({_task(row) for row in rows} - tasks.keys()),
    }


def _task(row: Row) -> int:
    index = row.get(_TASK)
    return index if isinstance(index, int) else 0


def _statistics(rows: Iterable[Row]) -> dict[str, float]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in _numbers(row):
            columns.setdefault(name, []).append(value)
    return {
        f"{statistic}/{name}": value
        for name, values in columns.items()
        for statistic, value in _described(values).items()
    }


def _numbers(row: Row) -> Iterator[tuple[str, float]]:
    response = row.get("response")
    usage = response.get("usage") if isinstance(response, Mapping) else None
    whole = {**row, **usage} if isinstance(usage, Mapping) else row
    for name, value in whole.items():
        if name not in _APART and isinstance(value, int | float) and abs(value) <= _LARGEST:
            yield (name, float(value))


def _described(values: Sequence[float]) -> dict[str, float]:
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return {
        "mean": mean,
        "max": max(values),
        "min": min(values),
        "median": statistics.median(values),
        "std": math.sqrt(squares / max(1, len(values) - 1)),
    }
