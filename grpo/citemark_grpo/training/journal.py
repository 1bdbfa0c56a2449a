"""One JSON line a step, synced before the next step begins; and a plot of the lines.

{"step": 12, "time": 1789…, "rewards": [0.61, null, …], "metrics": {"score/reward": 0.58, …}}
"""

import json
import logging
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from citemark_grpo.training.disk import outlive_full_disk

JOURNAL: Final = "journal.jsonl"
PLOT: Final = "rewards.png"

_log: Final = logging.getLogger(__name__)
_MOST_WAITING: Final = 10_000  # lines; beyond it the oldest are lost
_SMOOTH: Final = 0.85
_COMPONENTS: Final = {
    "rubrics": "score/rubric_reward",
    "citation F1": "score/citation_f1",
    "format": "score/format_bonus",
}


@dataclass(frozen=True, slots=True)
class JournalLine:
    step: int
    time: float
    """Unix seconds."""
    rewards: Sequence[float | None]
    """Of rollouts generated for this step, before the verification scale; None where the judge
    failed, empty where the step reused rollouts of an earlier one."""
    metrics: Mapping[str, float]
    """Finite numbers only."""


def select_finite(values: Mapping[str, object]) -> dict[str, float]:
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def read_lines(journal: Path) -> Iterator[JournalLine]:
    """The journal's lines in order, up to the first torn one. Raises `FileNotFoundError`."""
    with journal.open("rb") as file:
        for raw in file:
            if (line := _parse(raw)) is None:
                return
            yield line


def _parse(raw: bytes) -> JournalLine | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        return JournalLine(**json.loads(raw))
    except (ValueError, TypeError):
        return None


class Journal:
    """Appends lines to a file, of which it is the only writer.

    On a full disk lines wait in memory and are written with the next one that fits.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`, which a resumed run writes again, and a torn last one."""
        self._waiting.clear()
        if not self._path.exists():
            return
        with self._path.open("r+b") as file:
            end = 0
            for raw in file:
                line = _parse(raw)
                if line is None or line.step > step:
                    break
                end += len(raw)
            file.truncate(end)
            os.fsync(file.fileno())

    def add(self, line: JournalLine) -> None:
        self._waiting.append(json.dumps(asdict(line), allow_nan=False).encode() + b"\n")
        with outlive_full_disk("the journal", _log):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                _append_whole(file.fileno(), b"".join(self._waiting))
            self._waiting.clear()


def _append_whole(descriptor: int, data: bytes) -> None:
    """Write and sync all of `data`, or nothing."""
    start = os.fstat(descriptor).st_size
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, start)
        raise


def select_curve(lines: Sequence[JournalLine], metric: str) -> tuple[list[int], list[float]]:
    points = [(line.step, line.metrics[metric]) for line in lines if metric in line.metrics]
    return [step for step, _ in points], [value for _, value in points]


def smooth(values: Sequence[float], weight: float = _SMOOTH) -> list[float]:
    """Exponential moving mean with bias correction; `weight` of the past is in [0, 1)."""
    total, mass, out = 0.0, 0.0, []
    for value in values:
        total = weight * total + (1 - weight) * value
        mass = weight * mass + (1 - weight)
        out.append(total / mass)
    return out


def draw_rewards(lines: Sequence[JournalLine], picture: Path, *, title: str) -> None:
    """Plot rewards, components, lengths and KL as PNG.

    Raises `ImportError` without matplotlib, and `OSError` where the file cannot be written.
    """
    # Agg draws into memory and needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 10), layout="constrained")
    FigureCanvasAgg(figure)
    reward, parts, lengths, drift = figure.subplots(4, sharex=True, height_ratios=(3, 2, 1, 1))
    figure.suptitle(title, parse_math=False)  # a folder's name may hold dollar signs
    _draw_band(reward, lines)
    for name, metric in _COMPONENTS.items():
        steps, values = select_curve(lines, metric)
        parts.plot(steps, smooth(values), label=name)
    parts.set_ylabel("components, smoothed")
    for axes in (reward, parts):
        axes.legend(loc="best")
    measured = ((lengths, "completions/mean_length", "tokens"), (drift, "kl", "KL"))
    for axes, metric, label in measured:
        steps, values = select_curve(lines, metric)
        axes.plot(steps, values)
        axes.set_ylabel(label if steps else f"{label}: not measured")
    for axes in (reward, parts, lengths, drift):
        axes.grid(alpha=0.3)
    drift.set_xlabel("step")
    figure.savefig(picture, dpi=120)


def _draw_band(axes: Any, lines: Sequence[JournalLine]) -> None:
    steps, means = select_curve(lines, "score/reward")
    spread = dict(zip(*select_curve(lines, "score/reward_std"), strict=True))
    half = [spread.get(step, 0.0) for step in steps]
    low = [mean - width for mean, width in zip(means, half, strict=True)]
    high = [mean + width for mean, width in zip(means, half, strict=True)]
    axes.fill_between(steps, low, high, alpha=0.15, label="± one standard deviation")
    axes.plot(steps, means, alpha=0.4, marker=".", label="mean")
    axes.plot(steps, smooth(means), color="C0", linewidth=2, label="smoothed")
    failures = zip(*select_curve(lines, "score/failure_rate"), strict=True)
    failed = [step for step, share in failures if share]
    if failed:
        axes.plot(failed, [0.0] * len(failed), "x", color="C3", label="judge failures")
    axes.set_ylabel("reward, unscaled")
