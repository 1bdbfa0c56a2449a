"""The journal as a picture: rewards with their band, components, failures, lengths, KL."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from citemark_grpo.training.record.journal import Line

Curve = tuple[list[int], list[float]]
"""Steps and values; steps without the value are left out."""

_SMOOTH: Final = 0.85
_COMPONENTS: Final = {
    "rubrics": "score/rubric_reward",
    "citation F1": "score/citation_f1",
    "format": "score/format_bonus",
}


def curve(lines: Sequence[Line], metric: str) -> Curve:
    """One metric over the steps that have it."""
    points = [(line.step, line.metrics[metric]) for line in lines if metric in line.metrics]
    return [step for step, _ in points], [value for _, value in points]


def smoothed(values: Sequence[float], weight: float = _SMOOTH) -> list[float]:
    """Exponential moving mean, corrected for its start; `weight` of the past, in [0, 1)."""
    total, mass, out = 0.0, 0.0, []
    for value in values:
        total = weight * total + (1 - weight) * value
        mass = weight * mass + (1 - weight)
        out.append(total / mass)
    return out


def draw(lines: Sequence[Line], picture: Path, *, title: str) -> None:
    """Write the curves of at least one line as PNG.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the picture cannot be written.
    """
    # Agg draws into memory and needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 10), layout="constrained")
    FigureCanvasAgg(figure)
    reward, parts, lengths, drift = figure.subplots(4, sharex=True, height_ratios=(3, 2, 1, 1))
    figure.suptitle(title, parse_math=False)
    _reward(reward, lines)
    _components(parts, lines)
    _plain(lengths, lines, "completions/mean_length", "tokens")
    _plain(drift, lines, "kl", "KL")
    drift.set_xlabel("step")
    figure.savefig(picture, dpi=120)


def _reward(axes: Any, lines: Sequence[Line]) -> None:
    steps, means = curve(lines, "score/reward")
    spread = dict(zip(*curve(lines, "score/reward_std"), strict=True))
    low = [mean - spread.get(step, 0.0) for step, mean in zip(steps, means, strict=True)]
    high = [mean + spread.get(step, 0.0) for step, mean in zip(steps, means, strict=True)]
    axes.fill_between(steps, low, high, alpha=0.15, label="± one standard deviation")
    axes.plot(steps, means, alpha=0.4, marker=".", label="mean")
    axes.plot(steps, smoothed(means), color="C0", linewidth=2, label="smoothed")
    failed = [
        step for step, share in zip(*curve(lines, "score/failure_rate"), strict=True) if share
    ]
    if failed:
        axes.plot(failed, [0.0] * len(failed), "x", color="C3", label="judge failures")
    axes.set_ylabel("reward, unscaled")
    axes.legend(loc="best")
    axes.grid(alpha=0.3)


def _components(axes: Any, lines: Sequence[Line]) -> None:
    for name, metric in _COMPONENTS.items():
        steps, values = curve(lines, metric)
        axes.plot(steps, smoothed(values), label=name)
    axes.set_ylabel("components, smoothed")
    axes.legend(loc="best")
    axes.grid(alpha=0.3)


def _plain(axes: Any, lines: Sequence[Line], metric: str, label: str) -> None:
    steps, values = curve(lines, metric)
    axes.plot(steps, values)
    axes.set_ylabel(label if steps else f"{label}: not measured")
    axes.grid(alpha=0.3)
