"""One graded rollout as a person reads it."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from citemark_schemas import ClaimScore, Polarity, Rollout, RubricScore, ScoreResult
from citemark_service.cli.terminal import (
    FAIR,
    POOR,
    UNKNOWN,
    count_noun,
    mark_value,
    plain,
    style_of,
)
from citemark_service.score.explanation import citation_lines, reward_line, rubric_line, sign_of

_UNCITED = "magenta"
_OPEN, _CLOSE = "<answer>", "</answer>"


def render_result(result: ScoreResult, rollout: Rollout | None) -> RenderableType:
    """Everything that led to a reward; with `rollout`, also the question and the whole answer."""
    style = POOR if result.failure else FAIR if result.refusal else "bold"
    reward = plain(" ".join(reward_line(result).split()), style)
    parts: list[RenderableType] = [plain(result.id, "bold underline") + Text("  ") + reward]
    if rollout is not None:
        parts += [plain(f"\n{rollout.question}", "italic"), _mark_answer(result, rollout.response)]
    parts += _tabulate(result)
    parts.append("")
    failing = [name for name, passed in result.format.checks.items() if not passed]
    if failing:
        parts.append(
            plain(f"format    {result.format.bonus:.3f}: fails {', '.join(failing)}", FAIR)
        )
    for piece in result.format.judge_addressed:
        parts.append(plain(f"addresses the judge: “{piece}”", FAIR))
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
        marks.append((*claim.span, f"{number}{sign_of(claim.support)}", style_of(claim.support)))
    for sentence in result.uncited:
        factual = sentence.factual is None or sentence.factual >= 0.5
        marks.append((*sentence.span, "uncited", _UNCITED if factual else UNKNOWN))
    position, end = 0, len(response)
    if response.count(_OPEN) == response.count(_CLOSE) == 1:
        position, end = response.index(_OPEN), response.index(_CLOSE) + len(_CLOSE)
    text = Text("\n")
    for first, last, label, style in sorted(marks):
        if position <= first and last <= end:
            text += plain(response[position:first])
            text += plain(f"[{label}] {response[first:last]}", style)
            position = last
    return text + plain(response[position:end])


def _tabulate(result: ScoreResult) -> Iterator[RenderableType]:
    """The tables of claims, uncited sentences and rubrics, each after an empty line."""
    claims = []
    for number, claim in enumerate(result.claims, start=1):
        text = plain(f"{number}. {claim.text}", style_of(claim.support))
        if claim.malformed:
            text += plain(f" ({claim.malformed} tag)", POOR)
        if claim.occurrences > 1:
            text += plain(f" (said {claim.occurrences} times)", FAIR)
        ids = Text("\n").join(_mark_id(claim, each) for each in claim.ids) or Text("none", POOR)
        claims.append((text, mark_value(claim.support), mark_value(claim.substantive), ids))
    sentences = []
    for sentence in result.uncited:
        cited = None if sentence.factual is None else 1.0 - sentence.factual
        shown = "not judged" if sentence.factual is None else f"{sentence.factual:.2f}"
        mark = Text(f"{sign_of(cited)} {shown}", style=style_of(cited))
        sentences.append((plain(sentence.text, _UNCITED), mark))
    rubrics = [
        (
            _title_rubric(each),
            f"{each.raw:.2f}",
            mark_value(each.score),
            f"{each.weight:g}",
            each.source.value,
        )
        for each in result.rubrics
    ]
    for columns, rows in (
        (("claim", "support", "substance", "ids"), claims),
        (("outside the claim tags", "states a fact"), sentences),
        (("rubric", "judged", "score", "weight", "from"), rubrics),
    ):
        if rows:
            yield from ("", _build_table(columns, rows))


def _build_table(columns: Sequence[str], rows: Sequence[Sequence[RenderableType]]) -> Table:
    """A table whose first column takes the text; the others are as narrow as they can be."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column(columns[0], ratio=1)
    for column in columns[1:]:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    return table


def _mark_id(claim: ClaimScore, snippet_id: str) -> Text:
    if snippet_id in claim.fabricated:
        return plain(f"✗ {snippet_id} fabricated", POOR)
    if snippet_id not in claim.judged:
        return plain(f"? {snippet_id} not judged", UNKNOWN)
    share = claim.contributing.get(snippet_id, 1.0)
    return plain(f"{sign_of(share)} {snippet_id} {share:.2f}", style_of(share))


def _title_rubric(rubric: RubricScore) -> Text:
    flipped = rubric.polarity is Polarity.NEGATIVE
    text = plain(f"{'−' if flipped else '+'} {rubric.title}")
    if flipped:
        text += Text(" (1 − judged)", style="dim")
    if rubric.evidence:
        text += plain(f"\n  “{rubric.evidence}”", "dim")
    if rubric.evidence_found is False:
        text += Text("\n  the judge's quote is not in the answer", style=POOR)
    return text
