"""`citemark explain`: how one rollout got its reward."""

import asyncio
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from citemark_schemas import ClaimScore, Polarity, Rollout, RubricScore, ScoreResult, StreamLine
from citemark_service.cli.options import (
    INPUT,
    chosen_settings,
    given_flags,
    judge_options,
    knob_option,
    parse_knobs,
    service_url,
)
from citemark_service.cli.plans import plan_options
from citemark_service.cli.rows import (
    BadRow,
    RolloutRow,
    RowReader,
    is_answer,
    read_answer,
)
from citemark_service.cli.scoring import choose_scorer
from citemark_service.cli.terminal import count_noun, plain, show
from citemark_service.errors import DataError
from citemark_service.row_files import Numbered, RowFile
from citemark_service.score.explanation import (
    Level,
    citation_lines,
    level_of,
    reward_line,
    rubric_line,
    sign_of,
)
from citemark_service.shapes.plan import ReadPlan
from citemark_service.shapes.table import SHAPES

_FAIR, _POOR, _UNKNOWN = "yellow", "red", "dim"
_STYLES: Final = dict(zip(Level, ("green", _FAIR, _POOR, _UNKNOWN), strict=True))
_UNCITED: Final = "magenta"
_PLAIN: Final[dict[str, Any]] = {"box": None, "pad_edge": False, "header_style": "dim"}
_TURNS, _TURN = 4, 500  # of a conversation before the question, and characters of each
_OPEN, _CLOSE = "<answer>", "</answer>"


@click.command("explain")
@click.argument("file", type=INPUT)
@click.option("--id", "wanted", metavar="ID", help="Which one; the first where not given.")
@click.option("--url", callback=service_url, help="Score by the service that runs there.")
@plan_options(SHAPES, scored=True)
@knob_option("Of the reward.")
@judge_options
def command(
    *,
    file: Path,
    wanted: str | None,
    url: str | None,
    plan: ReadPlan,
    knobs: tuple[str, ...],
    **flags: Any,
) -> None:
    """Show how one rollout of FILE got its reward.

    FILE holds results, of `citemark score` or `citemark export` or as a service answered, or
    rollouts, of which one is scored first. Rollouts are shown with their whole answer.
    """
    rows = iter(RowFile(file))  # read once, so that a pipe will do
    first = next(rows, None)
    if first is None:
        raise DataError(f"{file} is empty")
    rows = itertools.chain([first], rows)
    if first.row is not None and is_answer(first.row):
        given = given_flags({"url": url, "knob": knobs or None, **flags})
        if given or plan != ReadPlan():
            given = given or ["what says how rows are read"]
            problem = f"FILE holds results, which are shown as they are; drop {given[0]}"
            raise click.UsageError(problem)
        shown = render_result(*find_result(rows, wanted, file))
    else:
        reader = RowReader(rows, chosen_settings(flags).ignored_rubric_keys, plan)
        row = find_rollout(reader, wanted, file)
        reader.notes.show(Console(stderr=True), (), "never judged")

        async def score() -> ScoreResult:
            async with choose_scorer(url, parse_knobs(knobs), 1, flags) as scorer:
                return await scorer.score(row)

        shown = render_result(asyncio.run(score()), row.rollout)
    show(shown)


def find_result(
    rows: Iterable[Numbered], wanted: str | None, file: Path
) -> tuple[ScoreResult, Rollout | None]:
    """The result with the id `wanted`, or the first that is no error of a stream.

    Raises `DataError`, with the error that a stream has in its place, else with their number.
    """
    errors: list[StreamLine] = []
    for numbered in rows:
        try:
            answer, rollout = read_answer(numbered.row or {})
        except ValueError as error:
            raise DataError(f"{file}: {numbered.place} is no result") from error
        if isinstance(answer, StreamLine):
            errors.append(answer)
        elif wanted in (None, answer.id):
            return answer, rollout
    reason = f"; it has {count_noun(len(errors), 'error')}, without ids" if errors else ""
    for line in errors:
        # A rollout without an id goes by its place in the stream, from 0; lines count from 1.
        if line.error is not None and wanted in (None, str(line.line - 1)):
            reason = f"; line {line.line}: {line.error.error}: {line.error.message}"
            break
    named = "result" if wanted is None else f"result with id {wanted!r}"
    raise DataError(f"{file} has no {named}{reason}")


def find_rollout(rows: RowReader, wanted: str | None, file: Path) -> RolloutRow:
    """The rollout with the id `wanted`, or the first valid one. Raises `DataError`."""
    bad: BadRow | None = None
    for row in rows:
        if isinstance(row, BadRow):
            bad = bad or row
        elif wanted in (None, row.id):
            return row
    named = "usable rollout" if wanted is None else f"rollout with id {wanted!r}"
    reason = f"; {bad.place} {bad.message}" if bad else ""
    raise DataError(f"{file} has no {named}{reason}")


def render_result(result: ScoreResult, rollout: Rollout | None) -> RenderableType:
    """The parts of a reward; with `rollout`, also the question and the answer."""
    style = _POOR if result.failure else _FAIR if result.refusal else "bold"
    reward = plain(" ".join(reward_line(result).split()), style)
    parts: list[RenderableType] = [plain(result.id, "bold underline") + Text("  ") + reward]
    if rollout is not None:
        said = (rollout.conversation or ())[-_TURNS:]
        parts += [plain(f"\n{each.role}: {each.content[:_TURN]}", "dim") for each in said]
        parts += [plain(f"\n{rollout.question}", "italic"), _mark_answer(result, rollout.response)]
    parts += [*_tabulate(result), ""]
    if failing := [name for name, passed in result.format.checks.items() if not passed]:
        bonus = f"format    {result.format.bonus:.3f}: fails {', '.join(failing)}"
        if result.format.unchecked:
            bonus += f"; not checked: {', '.join(result.format.unchecked)}"
        parts.append(plain(bonus, _FAIR))
    for piece in result.format.judge_addressed:
        parts.append(plain(f"addresses the judge: “{piece}”", _FAIR))
    for warning in result.warnings:
        parts.append(plain(f"warning   {warning.message}", _FAIR))
    if result.citation is not None:
        parts += map(plain, citation_lines(result.citation))
    if result.rubrics:
        parts.append(plain(rubric_line(result)))
    parts.append(plain(reward_line(result), "bold"))
    usage, versions = result.judge, result.versions
    calls = f"{usage.model}, {count_noun(usage.calls, 'call')}, {usage.prompt_tokens} prompt tokens"
    pinned = f"static rubrics {versions.static_rubrics}, scoring {versions.scoring}"
    return Group(*parts, plain(f"{calls}; {pinned}, prompts {versions.prompts}", "dim"))


def _mark_answer(result: ScoreResult, response: str) -> Text:
    """The answer block, else the whole response, with claims and uncited sentences marked."""
    marks: list[tuple[int, int, str, str]] = []
    for number, claim in enumerate(result.claims, start=1):
        marks.append((*claim.span, f"{number}{sign_of(claim.support)}", _style(claim.support)))
    for sentence in result.uncited:
        factual = sentence.factual is None or sentence.factual >= 0.5
        marks.append((*sentence.span, "uncited", _UNCITED if factual else _UNKNOWN))
    position, end = 0, len(response)
    if response.count(_OPEN) == response.count(_CLOSE) == 1:
        position, end = response.index(_OPEN), response.index(_CLOSE) + len(_CLOSE)
    text = Text("\n")
    for first, last, label, style in sorted(marks):
        if position <= first and last <= end:  # else outside the block, or overlapping
            text += plain(response[position:first])
            text += plain(f"[{label}] {response[first:last]}", style)
            position = last
    return text + plain(response[position:end])


def _tabulate(result: ScoreResult) -> Iterator[RenderableType]:
    # The first column has the text; the others are as narrow as their cells.
    claims, sentences, rubrics = (
        Table(Column(text, ratio=1), *others, expand=True, **_PLAIN)
        for text, *others in (
            ("claim", "support", "substance", "ids"),
            ("outside the claim tags", "states a fact"),
            ("rubric", "judged", "score", "weight", "from"),
        )
    )
    for number, claim in enumerate(result.claims, start=1):
        text = plain(f"{number}. {claim.text}", _style(claim.support))
        if claim.malformed:
            text += plain(f" ({claim.malformed} tag)", _POOR)
        if claim.occurrences > 1:
            text += plain(f" (said {claim.occurrences} times)", _FAIR)
        ids = Text("\n").join(_mark_id(claim, each) for each in claim.ids) or Text("none", _POOR)
        claims.add_row(text, _mark_value(claim.support), _mark_value(claim.substantive), ids)
    for sentence in result.uncited:
        cited = None if sentence.factual is None else 1.0 - sentence.factual
        shown = "not judged" if sentence.factual is None else f"{sentence.factual:.2f}"
        mark = Text(f"{sign_of(cited)} {shown}", style=_style(cited))
        sentences.add_row(plain(sentence.text, _UNCITED), mark)
    for rubric in result.rubrics:
        raw, weight = f"{rubric.raw:.2f}", f"{rubric.weight:g}"
        score, source = _mark_value(rubric.score), rubric.source.value
        rubrics.add_row(_title_rubric(rubric), raw, score, weight, source)
    for table in (claims, sentences, rubrics):
        if table.row_count:
            yield from ("", table)


def _style(value: float | None) -> str:
    return _STYLES[level_of(value)]


def _mark_value(value: float | None) -> Text:
    """`✓ 0.93`, or `? –` where it was not judged."""
    shown = "–" if value is None else f"{value:.2f}"
    return Text(f"{sign_of(value)} {shown}", style=_style(value))


def _mark_id(claim: ClaimScore, snippet_id: str) -> Text:
    if snippet_id in claim.fabricated:
        return plain(f"✗ {snippet_id} fabricated", _POOR)
    if snippet_id not in claim.judged:
        return plain(f"? {snippet_id} not judged", _UNKNOWN)
    share = claim.contributing.get(snippet_id, 1.0)
    return plain(f"{sign_of(share)} {snippet_id} {share:.2f}", _style(share))


def _title_rubric(rubric: RubricScore) -> Text:
    flipped = rubric.polarity is Polarity.NEGATIVE
    text = plain(f"{'−' if flipped else '+'} {rubric.title}")
    if flipped:
        text += Text(" (1 − judged)", style="dim")
    if rubric.evidence:
        text += plain(f"\n  “{rubric.evidence}”", "dim")
    if rubric.evidence_found is False:
        text += Text("\n  the judge's quote is not in the answer", style=_POOR)
    return text
