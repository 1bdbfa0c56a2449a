"""What was measured, beside the bars that it is held to."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from floor import Floor
from keeping import Keeping
from latency import Latency
from overhead import Overhead
from prompts import Prompts
from reading import Reading
from serving import Serving
from soak import Soak

CPU_MS = 1.5
STEP_RATIO = 1.15
CALLS = 2.0
PROMPT_TOKENS = 12_000
COMMON_SHARE = 0.6
COMPLETION_TOKENS = 120
RSS_MB = 250
HIT_RATIO = 0.8
LEDGER_RATIO = 1.05


@dataclass(frozen=True, slots=True)
class Report:
    """One run; None for each part that was skipped."""

    prompts: Prompts
    batch: Overhead
    singles: Overhead
    quoted: Overhead
    """As one batch, with evidence quotes."""
    floor: Floor
    latency: Latency
    keeping: Keeping
    """Into a new ledger."""
    million: Keeping | None
    """Into one that holds a million rollouts."""
    reading: Reading | None
    """Of the pages over those."""
    soak: Soak | None
    serving: Serving | None


@dataclass(frozen=True, slots=True)
class Line:
    """One number and, where there is one, its bar."""

    name: str
    value: float
    bar: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """None without a bar."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def record(report: Report) -> dict[str, float | None]:
    """The numbers that are kept from run to run; null where a part was skipped."""
    return {
        "cpu_ms_per_rollout": report.batch.cpu_ms.least,
        "rollouts_per_s": max(report.batch.per_s.values),
        "step_wall_s": report.latency.wall_s.median,
        "step_ideal_s": report.latency.ideal_s,
        "judge_calls_per_rollout": report.batch.calls,
        "prompt_tokens_per_rollout": report.prompts.estimated_tokens,
        "completion_tokens_per_rollout": report.batch.completion_tokens,
        "prefix_hit_ratio": report.serving.hit_ratio if report.serving else None,
        "rss_mb": report.soak.rss_mb if report.soak else None,
        "loopback_floor_ms": report.floor.cpu_ms.least,
    }


def lines(report: Report) -> Iterator[Line]:
    """Every number of a report, in the order of the table."""
    yield from _cost(report)
    yield from _prompts(report)
    yield from _step(report.latency)
    yield from _ledger("a new one", report.keeping)
    if report.million is not None:
        yield from _ledger("one of a million", report.million)
    if report.reading is not None:
        told = f"{report.reading.pages} pages in {len(report.reading.beside)} steps"
        yield Line("step beside a reader of pages over alone", report.reading.wall_ratio, note=told)
    yield from _memory(report.soak)
    yield from _serving(report.serving)


def _cost(report: Report) -> Iterator[Line]:
    for name, part in (("batch of 256", report.batch), ("256 requests", report.singles)):
        median = f"median {part.cpu_ms.median:.2f}"
        yield Line(f"CPU ms a rollout, {name}", part.cpu_ms.least, CPU_MS, note=median)
        yield Line(f"rollouts a second, {name}", max(part.per_s.values), note="all on one machine")
    median = f"median {report.quoted.cpu_ms.median:.2f}"
    yield Line("CPU ms a rollout, with quotes", report.quoted.cpu_ms.least, note=median)
    yield Line("CPU ms a rollout, bytes alone", report.floor.cpu_ms.least, note="the floor")


def _prompts(report: Report) -> Iterator[Line]:
    sent, batch = report.prompts, report.batch
    yield Line("judge calls a rollout", batch.calls, CALLS)
    yield Line("judge calls on a repeat", batch.repeated_calls, 0.0)
    yield Line("prompt tokens a rollout", sent.estimated_tokens, PROMPT_TOKENS, note="chars / 4")
    if sent.tokens is not None:
        yield Line("the same by SmolLM2's tokenizer", sent.tokens, PROMPT_TOKENS)
    yield Line("share common to a group", sent.common_share, COMMON_SHARE, at_least=True)
    yield Line("share that a prefix cache can hold", sent.reusable_share)
    yield Line("completion tokens a rollout", batch.completion_tokens, COMPLETION_TOKENS)


def _step(latency: Latency) -> Iterator[Line]:
    ideal = f"ideal {latency.ideal_s:.2f}, least {latency.wall_s.least:.2f}"
    yield Line("step at 200 ms and 64 slots, s", latency.wall_s.median, note=ideal)
    yield Line("step over ideal", latency.ratio, STEP_RATIO)


def _ledger(name: str, kept: Keeping) -> Iterator[Line]:
    off, on = kept.wall_s
    told = f"medians {off:.2f} and {on:.2f} s; of the least {kept.least_ratio:.2f}"
    yield Line(f"step with ledger over without, {name}", kept.wall_ratio, LEDGER_RATIO, note=told)
    yield Line(f"CPU ms a rollout that it adds, {name}", kept.cpu_ms)
    yield Line(f"bytes a rollout in it, {name}", kept.file_bytes)


def _memory(soak: Soak | None) -> Iterator[Line]:
    if soak is None:
        return
    spent = f"after {soak.samples[-1].rollouts} rollouts in {soak.seconds:.0f} s"
    yield Line("memory, MiB", soak.rss_mb, RSS_MB, note=spent)
    yield Line("growth in the second half, MiB", soak.growth_mb)


def _serving(serving: Serving | None) -> Iterator[Line]:
    if serving is None:
        return
    tokens = f"{serving.cached_tokens} of {serving.shareable_tokens} tokens"
    yield Line("prefix hits on vLLM", serving.hit_ratio, HIT_RATIO, at_least=True, note=tokens)
    told = f"{serving.rollouts} rollouts in {serving.wall_s:.1f} s"
    yield Line("tokens that vLLM computed", serving.computed_tokens, note=told)


def table(report: Report) -> Table:
    """The lines with their bars, and how far each is from its own."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("measured")
    for name in ("value", "bar", "value / bar"):
        shown.add_column(name, justify="right")
    shown.add_column("holds")
    shown.add_column("note")
    for line in lines(report):
        shown.add_row(*_cells(line))
    return shown


def _cells(line: Line) -> tuple[str, ...]:
    if line.bar is None:
        return line.name, _number(line.value), "", "", "", line.note
    bar = f"{'≥' if line.at_least else '≤'} {_number(line.bar)}"
    ratio = f"{line.value / line.bar:.2f}" if line.bar else ""
    return line.name, _number(line.value), bar, ratio, "yes" if line.holds else "NO", line.note


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
