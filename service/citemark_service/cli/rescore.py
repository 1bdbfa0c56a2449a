"""`citemark rescore`: kept rollouts under other knobs, or another judge."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from citemark_rubrics import load_library
from citemark_schemas import ScoreResult
from citemark_service.cli.export import open_ledger, place_options, require_kept
from citemark_service.cli.options import chosen_settings, judge_options, knob_option, parse_knobs
from citemark_service.cli.terminal import Progress, build_table, count_noun, plain, show
from citemark_service.errors import DataError
from citemark_service.judges.factory import build_judge
from citemark_service.judges.tasks import JudgeIdentity
from citemark_service.ledger.reading import KeptRollout, Place
from citemark_service.printable import join_names
from citemark_service.rescoring.compare import (
    SHOWN,
    Change,
    Comparison,
    Group,
    Rescored,
    RewardPair,
    RewardTally,
    compare,
)
from citemark_service.rescoring.rejudge import rejudge, rubric_agreements, sample_rollouts
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics


@click.command("rescore")
@place_options
@knob_option()
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
    place: Place,
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
    with open_ledger(ledger) as reader:
        if any(value is not None for value in flags.values()):
            if knobs or weights:
                raise click.UsageError("--judge compares judges: leave --knob and --weight out")
            kept = require_kept(reader, place, sample_rollouts(reader, place, sample, seed))
            _compare_judges(kept, chosen_settings(flags), as_json=as_json)
            return
        change = Change(parse_knobs(knobs), dict(map(_parse_weight, weights)))
        numbers = require_kept(reader, place, reader.numbers(place, grouped=True))
        with Progress(Console(stderr=True), len(numbers), "rescoring") as progress:
            found = compare(progress.track(reader.whole(numbers)), change, moves=rows)
    if found.untitled:
        unknown, there = found.untitled[0], join_names(found.titles, SHOWN, separator="; ")
        raise DataError(f"no criterion is titled {unknown!r}; there are: {there}")
    if as_json:
        parts = {
            "steps": [asdict(each) for each in found.steps],
            "moves": [asdict(each) for each in found.moves],
            "left_out": found.left_out,
        }
        click.echo(json.dumps({**asdict(found.comparison), **parts}, indent=2))
    else:
        _show_rescored(found)


def _parse_weight(text: str) -> tuple[str, float]:
    title, equals, number = text.rpartition("=")  # a title may have equals signs
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not equals or not 0 <= weight <= 1e6:
        raise click.BadParameter(f"{text!r} is not TITLE=WEIGHT", param_hint="--weight")
    return title, weight


def _show_rescored(found: Rescored) -> None:
    table = build_table(["rollout", "group"], ["old", "new", "rank"])
    for each in found.moves:
        pair = each.pair
        place = " ".join(str(part)[:24] for part in pair.group if part is not None)
        ranks = f"{each.old_rank} → {each.new_rank}" if each.moved else str(each.old_rank)
        table.add_row(plain(pair.id), plain(place), f"{pair.old:.3f}", f"{pair.new:.3f}", ranks)
    show(table)
    left_out = (f"{count} left out: {reason}" for reason, count in found.left_out.items())
    for line in (*_summarise(found.comparison), *left_out):
        show(plain(line))


def _compare_judges(kept: Sequence[KeptRollout], settings: Settings, *, as_json: bool) -> None:
    identity, new = asyncio.run(_judge_anew(kept, settings))
    failures = [result.failure for result in new if result.failure]
    if len(failures) == len(new):
        raise DataError(f"the judge failed on all {len(new)}: {failures[0].message}")
    groups: defaultdict[Group, list[RewardPair]] = defaultdict(list)
    for each, result in zip(kept, new, strict=True):
        if result.reward is not None and each.result.reward is not None:
            pair = RewardPair(each.seq, result.id, each.place, each.result.reward, result.reward)
            groups[each.place].append(pair)
    tally = RewardTally(0)
    for members in groups.values():
        tally.add(members)
    models = {f"{each.result.judge.model} ({each.result.versions.prompts})" for each in kept}
    was, now = ", ".join(sorted(models)), f"{identity.model} ({identity.prompts})"
    failed = Counter(failure.kind.value for failure in failures)
    rewards = tally.comparison()
    criteria = rubric_agreements(zip((each.result for each in kept), new, strict=True))
    if as_json:
        parts = {"rewards": asdict(rewards), "criteria": [asdict(each) for each in criteria]}
        judged = {"was": was, "now": now, "sample": len(kept), "failed": failed, **parts}
        click.echo(json.dumps(judged, indent=2))
        return
    table = build_table(["criterion"], ["judged by both", "kappa", "mean difference", "flips"])
    for row in criteria:
        kappa = "–" if row.kappa is None else f"{row.kappa:.2f}"
        cells = (str(row.pairs), kappa, f"{row.difference:+.3f}", str(row.flips))
        table.add_row(plain(row.title), *cells)
    show(table)
    for line in (f"\n{was} → {now}", *_summarise(rewards)):
        show(plain(line))
    for kind, count in failed.items():
        show(plain(f"{count} of {len(kept)} failed now: {kind}", "red"))


async def _judge_anew(
    kept: Sequence[KeptRollout], settings: Settings
) -> tuple[JudgeIdentity, list[ScoreResult]]:
    async with aclosing(build_judge(settings, Metrics())) as judge:
        library = load_library(settings.rubrics_dir)
        pipeline = Pipeline(judge=judge, library=library, settings=settings, metrics=Metrics())
        doing = f"{judge.identity.model} judges {count_noun(len(kept), 'rollout')}"
        with Console(stderr=True).status(doing):
            new = await rejudge(pipeline, kept, concurrency=settings.judge_concurrency)
        return judge.identity, new


def _summarise(comparison: Comparison) -> Iterator[str]:
    if comparison.mean_old is not None and comparison.mean_new is not None:
        means = f"mean {comparison.mean_old:.3f} → {comparison.mean_new:.3f}"
        alike = comparison.correlation
        correlation = "" if alike is None else f", correlation {alike:.3f}"
        yield f"{count_noun(comparison.rollouts, 'rollout')}, {means}{correlation}"
    if comparison.turned is not None:
        yield (
            f"{count_noun(comparison.groups, 'group')}: {comparison.reordered} reordered, "
            f"{comparison.new_best} with another best sample, "
            f"{comparison.turned:.1%} of all pairs of siblings turned around"
        )
