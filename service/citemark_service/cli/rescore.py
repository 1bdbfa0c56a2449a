"""`citemark rescore`: kept rollouts under other knobs, or another judge."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from citemark_rubrics import load_library
from citemark_service.cli.options import (
    chosen_settings,
    judge_options,
    parse_knobs,
    setting_option,
)
from citemark_service.cli.printable import plain, show
from citemark_service.errors import DataError, NotJudged
from citemark_service.judges.factory import build_judge
from citemark_service.ledger.factory import ledger_engine
from citemark_service.ledger.reading import KeptRollout, LedgerReader, Place
from citemark_service.observe import SilentObserver
from citemark_service.pipeline import Pipeline
from citemark_service.rescoring.agreement import RubricAgreement, rubric_agreements
from citemark_service.rescoring.ranks import Comparison, Pair, Ranked, compared, ranked
from citemark_service.rescoring.rejudge import rejudged, sampled
from citemark_service.rescoring.reward import Change, rescored
from citemark_service.settings import Settings, load_settings


@click.command("rescore")
@setting_option("ledger", "Where the rollouts are.", metavar="URL")
@click.option("--run", help="Only this run.")
@click.option("--step", type=int, help="Only this step.")
@click.option("--group", help="Only this group.")
@click.option(
    "--knob", "knobs", multiple=True, metavar="NAME=VALUE", help="Of the reward; repeatable."
)
@click.option(
    "--weight", "weights", multiple=True, metavar="TITLE=W", help="Of a criterion; repeatable."
)
@click.option("--rows", default=20, show_default=True, help="Rollouts to show, largest move first.")
@click.option("--sample", default=50, show_default=True, help="With --judge: rollouts to judge.")
@click.option("--seed", default=0, show_default=True, help="With --judge: of that sample.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@judge_options
def command(
    *,
    ledger: str | None,
    run: str | None,
    step: int | None,
    group: str | None,
    knobs: tuple[str, ...],
    weights: tuple[str, ...],
    rows: int,
    sample: int,
    seed: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compare the rewards of kept rollouts with those under other knobs, without a judge call.

    Ranks are within a group, which is all that a group-relative trainer sees of a reward. With
    --judge a sample is judged anew instead, and each criterion's agreement is shown.
    """
    place = Place(run, step, group)
    with _reader(ledger) as reader:
        if any(value is not None for value in flags.values()):
            if knobs or weights:
                raise click.UsageError("--judge compares judges: leave --knob and --weight out")
            kept = sampled(_some(reader, place), sample, seed)
            agreements = asyncio.run(_agreements(kept, chosen_settings(flags)))
            _show_agreements(agreements, as_json=as_json)
            return
        change = Change(parse_knobs(knobs), dict(map(_weight, weights)))
        pairs, left_out = _pairs(_some(reader, place), change)
    _show_ranks(ranked(pairs), left_out, rows, as_json=as_json)


@contextmanager
def _reader(ledger: str | None) -> Iterator[LedgerReader]:
    address = ledger or load_settings().ledger
    if address == "off":
        raise click.UsageError("the ledger is off; name one with --ledger")
    with closing(LedgerReader(ledger_engine(address))) as reader:
        yield reader


def _some(reader: LedgerReader, place: Place) -> Iterator[KeptRollout]:
    """The rollouts of a place, of which there must be one."""
    kept = reader.whole(reader.numbers(place))
    first = next(kept, None)
    if first is None:
        names = ", ".join(str(row["run"]) or "(unnamed)" for row in reader.runs()[:20])
        raise DataError(f"no rollout is kept there; the ledger's runs: {names or 'none'}")
    yield first
    yield from kept


def _weight(text: str) -> tuple[str, float]:
    title, equals, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not equals or not 0 <= weight <= 1e6:
        raise click.BadParameter(f"{text!r} is not TITLE=WEIGHT", param_hint="--weight")
    return title, weight


def _pairs(kept: Iterable[KeptRollout], change: Change) -> tuple[list[Pair], dict[str, int]]:
    """Rewards old and new; and how many could not be computed, by reason."""
    pairs: list[Pair] = []
    left_out: dict[str, int] = {}
    titles = set[str]()
    for each in kept:
        titles.update(rubric.title for rubric in each.result.rubrics)
        try:
            new = rescored(each.rollout, each.result, change)
        except NotJudged as error:
            left_out[str(error)] = left_out.get(str(error), 0) + 1
            continue
        group = (each.run, each.step, each.group)
        old_reward, new_reward = each.result.reward or 0.0, new.reward or 0.0
        pairs.append(Pair(each.seq, new.id, group, old_reward, new_reward))
    if unknown := sorted(change.weights.keys() - titles):
        raise DataError(f"no criterion is titled {unknown[0]!r}; there are: {_listed(titles)}")
    return pairs, left_out


def _listed(titles: Iterable[str]) -> str:
    return "; ".join(sorted(titles)[:20])


async def _agreements(kept: Sequence[KeptRollout], settings: Settings) -> list[RubricAgreement]:
    async with aclosing(build_judge(settings, SilentObserver())) as judge:
        pipeline = Pipeline(
            judge=judge,
            library=load_library(settings.rubrics_dir),
            settings=settings,
            observer=SilentObserver(),
        )
        concurrency = settings.judge_concurrency
        with Console(stderr=True).status(f"{judge.identity.model} judges {len(kept)} rollouts"):
            new = await rejudged(pipeline, kept, concurrency=concurrency)
    failed = [result.failure for result in new if result.failure]
    if failed and len(failed) == len(new):
        raise DataError(f"the judge failed on all: {failed[0].message}")
    return rubric_agreements(zip((each.result for each in kept), new, strict=True))


def _show_agreements(agreements: Sequence[RubricAgreement], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(each) for each in agreements], indent=2))
        return
    table = Table("criterion", box=None, pad_edge=False, header_style="bold")
    for column in ("judged by both", "kappa", "mean difference", "flips"):
        table.add_column(column, justify="right")
    for each in agreements:
        kappa = "–" if each.kappa is None else f"{each.kappa:.2f}"
        cells = (str(each.pairs), kappa, f"{each.difference:+.3f}", str(each.flips))
        table.add_row(plain(each.title), *cells)
    show(table)


def _show_ranks(
    everything: Sequence[Ranked], left_out: dict[str, int], rows: int, *, as_json: bool
) -> None:
    comparison = compared(everything)
    moved = sorted(everything, key=lambda each: (-abs(each.moved), -_shift(each)))[:rows]
    if as_json:
        parts = {"rollouts": [asdict(each) for each in moved], "left_out": left_out}
        click.echo(json.dumps({**asdict(comparison), **parts}, indent=2))
        return
    show(_ranks_table(moved))
    for line in (*_sums(comparison), *_reasons(left_out)):
        show(plain(line))


def _shift(each: Ranked) -> float:
    return abs(each.pair.new - each.pair.old)


def _ranks_table(moved: Sequence[Ranked]) -> Table:
    table = Table("rollout", "group", box=None, pad_edge=False, header_style="bold")
    for column in ("old", "new", "rank"):
        table.add_column(column, justify="right")
    for each in moved:
        pair = each.pair
        place = " ".join(str(part)[:24] for part in pair.group if part is not None)
        ranks = f"{each.old_rank} → {each.new_rank}" if each.moved else str(each.old_rank)
        table.add_row(plain(pair.id), plain(place), f"{pair.old:.3f}", f"{pair.new:.3f}", ranks)
    return table


def _sums(comparison: Comparison) -> Iterator[str]:
    if comparison.mean_old is not None and comparison.mean_new is not None:
        means = f"mean {comparison.mean_old:.3f} → {comparison.mean_new:.3f}"
        yield f"\n{comparison.rollouts} rollouts, {means}"
    if comparison.turned is not None:
        yield (
            f"{comparison.groups} groups: {comparison.reordered} reordered, "
            f"{comparison.new_best} with another best sample, "
            f"{comparison.turned:.1%} of all pairs of siblings turned around"
        )


def _reasons(left_out: dict[str, int]) -> Iterator[str]:
    for reason, count in sorted(left_out.items(), key=lambda item: -item[1]):
        yield f"{count} left out: {reason}"
