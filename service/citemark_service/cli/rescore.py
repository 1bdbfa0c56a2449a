"""`citemark rescore`: kept rollouts under other knobs, or another judge."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from citemark_rubrics import load_library
from citemark_schemas import ScoreResult
from citemark_service.cli.kept import none_kept, place_options, reading, some
from citemark_service.cli.options import chosen_settings, judge_options, parse_knobs
from citemark_service.cli.printable import plain, show
from citemark_service.cli.progress import Progress
from citemark_service.cli.wording import counted
from citemark_service.errors import DataError
from citemark_service.judges.factory import build_judge
from citemark_service.judges.protocol import JudgeIdentity
from citemark_service.ledger.reading import KeptRollout, LedgerReader, Place
from citemark_service.printable import join_names
from citemark_service.rescoring.agreement import RubricAgreement, rubric_agreements
from citemark_service.rescoring.comparing import SHOWN, Rescored, compare
from citemark_service.rescoring.ranks import Comparison, Pair, Ranked, Tally
from citemark_service.rescoring.rejudge import rejudged, sampled
from citemark_service.rescoring.reward import Change
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics


@click.command("rescore")
@place_options
@click.option(
    "--knob", "knobs", multiple=True, metavar="NAME=VALUE", help="Of the reward; repeatable."
)
@click.option(
    "--weight", "weights", multiple=True, metavar="TITLE=W", help="Of a criterion; repeatable."
)
@click.option(
    "--rows",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="Rollouts to show, largest move first.",
)
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="With a judge: rollouts to judge, in whole groups.",
)
@click.option("--seed", default=0, show_default=True, help="With a judge: of that sample.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@judge_options
def command(
    *,
    ledger: str | None,
    run: str | None,
    step: int | None,
    group: str | None,
    since: float | None,
    until: float | None,
    knobs: tuple[str, ...],
    weights: tuple[str, ...],
    rows: int,
    sample: int,
    seed: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compare the rewards of kept rollouts with those under other knobs, without a judge call.

    Ranks are within a group, which is all that a group-relative trainer sees of a reward.

    With a flag of the judge (--judge, --judge-model; --criteria-per-call and --evidence-quotes,
    which change what it is asked) a sample is judged anew instead, under the knobs that it had,
    and agreement is shown: of each criterion, of claims, and of the rewards.
    """
    place = Place(run, step, group, since, until)
    with reading(ledger) as reader:
        if any(value is not None for value in flags.values()):
            if knobs or weights:
                raise click.UsageError("--judge compares judges: leave --knob and --weight out")
            kept = sampled(reader, place, sample, seed)
            if not kept:
                raise none_kept(reader, place)
            _show_judged(asyncio.run(_judged(kept, chosen_settings(flags))), as_json=as_json)
            return
        change = Change(parse_knobs(knobs), dict(map(_weight, weights)))
        found = _compared(reader, place, change, rows)
    _show_rescored(found, as_json=as_json)


def _weight(text: str) -> tuple[str, float]:
    title, equals, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not equals or not 0 <= weight <= 1e6:
        raise click.BadParameter(f"{text!r} is not TITLE=WEIGHT", param_hint="--weight")
    return title, weight


def _compared(reader: LedgerReader, place: Place, change: Change, rows: int) -> Rescored:
    numbers = some(reader, place, reader.numbers(place, grouped=True))
    with Progress(Console(stderr=True), len(numbers), "rescoring") as progress:
        found = compare(_counted(reader.whole(numbers), progress), change, moves=rows)
    if found.untitled:
        unknown, there = found.untitled[0], join_names(found.titles, SHOWN, separator="; ")
        raise DataError(f"no criterion is titled {unknown!r}; there are: {there}")
    return found


def _counted(kept: Iterable[KeptRollout], progress: Progress) -> Iterator[KeptRollout]:
    for each in kept:
        yield each
        progress.advance()


@dataclass(frozen=True, slots=True)
class _Judged:
    """A sample, judged twice."""

    was: str
    now: str
    """Judge and prompts."""
    sample: int
    failed: Mapping[str, int]
    """Judgements that failed now, by kind."""
    rewards: Comparison
    criteria: list[RubricAgreement]


async def _judged(kept: Sequence[KeptRollout], settings: Settings) -> _Judged:
    async with aclosing(build_judge(settings, Metrics())) as judge:
        pipeline = Pipeline(
            judge=judge,
            library=load_library(settings.rubrics_dir),
            settings=settings,
            metrics=Metrics(),
        )
        concurrency = settings.judge_concurrency
        with Console(stderr=True).status(
            f"{judge.identity.model} judges {counted(len(kept), 'rollout')}"
        ):
            new = await rejudged(pipeline, kept, concurrency=concurrency)
        return _agreement(kept, new, judge.identity)


def _agreement(
    kept: Sequence[KeptRollout], new: Sequence[ScoreResult], identity: JudgeIdentity
) -> _Judged:
    failures = [result.failure for result in new if result.failure]
    if len(failures) == len(new):
        raise DataError(f"the judge failed on all {len(new)}: {failures[0].message}")
    tally, families = Tally(0), dict[tuple[str | None, int | None, str], list[Pair]]()
    for each, result in zip(kept, new, strict=True):
        if result.reward is not None and each.result.reward is not None:
            pair = Pair(each.seq, result.id, each.place, each.result.reward, result.reward)
            families.setdefault(each.place, []).append(pair)
    for members in families.values():
        tally.add(members)
    was = {_named(each.result.judge.model, each.result.versions.prompts) for each in kept}
    return _Judged(
        was=", ".join(sorted(was)),
        now=_named(identity.model, identity.prompts),
        sample=len(kept),
        failed=Counter(failure.kind.value for failure in failures),
        rewards=tally.comparison(),
        criteria=rubric_agreements(zip((each.result for each in kept), new, strict=True)),
    )


def _named(model: str, prompts: str) -> str:
    return f"{model} ({prompts})"


def _show_judged(judged: _Judged, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(judged), indent=2))
        return
    table = Table("criterion", box=None, pad_edge=False, header_style="bold")
    for column in ("judged by both", "kappa", "mean difference", "flips"):
        table.add_column(column, justify="right")
    for each in judged.criteria:
        kappa = "–" if each.kappa is None else f"{each.kappa:.2f}"
        cells = (str(each.pairs), kappa, f"{each.difference:+.3f}", str(each.flips))
        table.add_row(plain(each.title), *cells)
    show(table)
    show(plain(f"\n{judged.was} → {judged.now}"))
    for line in _sums(judged.rewards):
        show(plain(line))
    for kind, count in judged.failed.items():
        show(plain(f"{count} of {judged.sample} failed now: {kind}", "red"))


def _show_rescored(found: Rescored, *, as_json: bool) -> None:
    if as_json:
        parts = {
            "steps": [asdict(each) for each in found.steps],
            "moves": [asdict(each) for each in found.moves],
            "left_out": found.left_out,
        }
        click.echo(json.dumps({**asdict(found.comparison), **parts}, indent=2))
        return
    show(_moves_table(found.moves))
    for line in (*_sums(found.comparison), *_reasons(found.left_out)):
        show(plain(line))


def _moves_table(moves: Sequence[Ranked]) -> Table:
    table = Table("rollout", "group", box=None, pad_edge=False, header_style="bold")
    for column in ("old", "new", "rank"):
        table.add_column(column, justify="right")
    for each in moves:
        pair = each.pair
        place = " ".join(str(part)[:24] for part in pair.group if part is not None)
        ranks = f"{each.old_rank} → {each.new_rank}" if each.moved else str(each.old_rank)
        table.add_row(plain(pair.id), plain(place), f"{pair.old:.3f}", f"{pair.new:.3f}", ranks)
    return table


def _sums(comparison: Comparison) -> Iterator[str]:
    if comparison.mean_old is not None and comparison.mean_new is not None:
        means = f"mean {comparison.mean_old:.3f} → {comparison.mean_new:.3f}"
        alike = comparison.correlation
        correlation = "" if alike is None else f", correlation {alike:.3f}"
        yield f"{counted(comparison.rollouts, 'rollout')}, {means}{correlation}"
    if comparison.turned is not None:
        yield (
            f"{counted(comparison.groups, 'group')}: {comparison.reordered} reordered, "
            f"{comparison.new_best} with another best sample, "
            f"{comparison.turned:.1%} of all pairs of siblings turned around"
        )


def _reasons(left_out: Mapping[str, int]) -> Iterator[str]:
    for reason, count in left_out.items():
        yield f"{count} left out: {reason}"
