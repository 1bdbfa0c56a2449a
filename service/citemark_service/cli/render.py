"""One graded rollout as a person reads it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from citemark_schemas import ClaimScore, Polarity, Rollout, RubricScore, ScoreResult, SentenceScore
from citemark_service.cli.marks import FAIR, POOR, UNKNOWN, marked, style_of
from citemark_service.cli.printable import plain
from citemark_service.cli.wording import counted
from citemark_service.score.explanation import citation_lines, reward_line, rubric_line, sign_of

_UNCITED = "magenta"
_OPEN, _CLOSE = "<answer>", "</answer>"


class _Mark(NamedTuple):
    """A stretch of the response with its colour and the label that stands before it."""

    start: int
    end: int
    style: str
    label: str


def explained(result: ScoreResult, rollout: Rollout | None) -> RenderableType:
    """Everything that led to a reward; with `rollout`, also the question and the whole answer."""
    parts: list[RenderableType] = [_heading(result)]
    if rollout is not None:
        parts += [plain(f"\n{rollout.question}", "italic"), *_answer(result, rollout.response)]
    if result.claims:
        parts += ["", _claims(result.claims)]
    if result.uncited:
        parts += ["", _sentences(result.uncited)]
    if result.rubrics:
        parts += ["", _rubrics(result.rubrics)]
    return Group(*parts, "", *_sums(result), _provenance(result))


def _heading(result: ScoreResult) -> Text:
    style = POOR if result.failure else FAIR if result.refusal else "bold"
    line = " ".join(reward_line(result).split())
    return plain(result.id, "bold underline") + Text("  ") + plain(line, style)


def _answer(result: ScoreResult, response: str) -> Iterator[RenderableType]:
    """The answer block, else the whole response, with claims and uncited sentences marked."""
    start, end = _block(response)
    text, position = Text("\n"), start
    for mark in sorted(_marks(result)):
        if position <= mark.start and mark.end <= end:
            text += plain(response[position : mark.start])
            text += plain(f"[{mark.label}] {response[mark.start : mark.end]}", mark.style)
            position = mark.end
    yield text + plain(response[position:end])


def _block(response: str) -> tuple[int, int]:
    if response.count(_OPEN) != 1 or response.count(_CLOSE) != 1:
        return 0, len(response)
    return response.index(_OPEN), response.index(_CLOSE) + len(_CLOSE)


def _marks(result: ScoreResult) -> Iterator[_Mark]:
    for number, claim in enumerate(result.claims, start=1):
        label = f"{number}{sign_of(claim.support)}"
        yield _Mark(*claim.span, style_of(claim.support), label)
    for sentence in result.uncited:
        factual = sentence.factual is None or sentence.factual >= 0.5
        yield _Mark(*sentence.span, _UNCITED if factual else UNKNOWN, "uncited")


def _table(*columns: str) -> Table:
    """A table whose first column takes the text; the others are as narrow as they can be."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column(columns[0], ratio=1)
    for column in columns[1:]:
        table.add_column(column)
    return table


def _claims(claims: Sequence[ClaimScore]) -> Table:
    table = _table("claim", "support", "substance", "ids")
    for number, claim in enumerate(claims, start=1):
        text = plain(f"{number}. {claim.text}", style_of(claim.support))
        if claim.malformed:
            text += plain(f" ({claim.malformed} tag)", POOR)
        if claim.occurrences > 1:
            text += plain(f" (said {claim.occurrences} times)", FAIR)
        table.add_row(text, marked(claim.support), marked(claim.substantive), _ids(claim))
    return table


def _ids(claim: ClaimScore) -> Text:
    return Text("\n").join(_id(claim, snippet_id) for snippet_id in claim.ids) or Text("none", POOR)


def _id(claim: ClaimScore, snippet_id: str) -> Text:
    if snippet_id in claim.fabricated:
        return plain(f"✗ {snippet_id} fabricated", POOR)
    if snippet_id not in claim.judged:
        return plain(f"? {snippet_id} not judged", UNKNOWN)
    share = claim.contributing.get(snippet_id, 1.0)
    return plain(f"{sign_of(share)} {snippet_id} {share:.2f}", style_of(share))


def _sentences(sentences: Sequence[SentenceScore]) -> Table:
    table = _table("outside the claim tags", "states a fact")
    for sentence in sentences:
        cited = None if sentence.factual is None else 1.0 - sentence.factual
        shown = "not judged" if sentence.factual is None else f"{sentence.factual:.2f}"
        table.add_row(
            plain(sentence.text, _UNCITED),
            Text(f"{sign_of(cited)} {shown}", style=style_of(cited)),
        )
    return table


def _rubrics(rubrics: Sequence[RubricScore]) -> Table:
    table = _table("rubric", "judged", "score", "weight", "from")
    for rubric in rubrics:
        table.add_row(
            _titled(rubric),
            f"{rubric.raw:.2f}",
            marked(rubric.score),
            f"{rubric.weight:g}",
            rubric.source.value,
        )
    return table


def _titled(rubric: RubricScore) -> Text:
    flipped = rubric.polarity is Polarity.NEGATIVE
    text = plain(f"{'−' if flipped else '+'} {rubric.title}")
    if flipped:
        text += Text(" (1 − judged)", style="dim")
    if rubric.evidence:
        text += plain(f"\n  “{rubric.evidence}”", "dim")
    if rubric.evidence_found is False:
        text += Text("\n  the judge's quote is not in the answer", style=POOR)
    return text


def _sums(result: ScoreResult) -> Iterator[RenderableType]:
    failing = [name for name, passed in result.format.checks.items() if not passed]
    if failing:
        yield plain(f"format    {result.format.bonus:.3f}: fails {', '.join(failing)}", FAIR)
    for piece in result.format.judge_addressed:
        yield plain(f"addresses the judge: “{piece}”", FAIR)
    if result.citation is not None:
        yield from map(plain, citation_lines(result.citation))
    if result.rubrics:
        yield plain(rubric_line(result))
    yield plain(reward_line(result), "bold")


def _provenance(result: ScoreResult) -> Text:
    usage, versions = result.judge, result.versions
    told = f"{usage.model}, {counted(usage.calls, 'call')}, {usage.prompt_tokens} prompt tokens"
    pinned = f"static rubrics {versions.static_rubrics}, scoring {versions.scoring}"
    return plain(f"{told}; {pinned}, prompts {versions.prompts}", "dim")
