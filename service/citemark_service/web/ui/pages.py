"""Each page from the ledger to HTML. Everything here blocks, and belongs off the event loop."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import ColumnElement

from citemark_schemas import Rollout, ScoreResult
from citemark_service.errors import InvalidRequest, RequestError
from citemark_service.judges.protocol import JudgeIdentity, Words
from citemark_service.ledger.entry import NO_STEP
from citemark_service.ledger.reading import KeptRollout, Place, Record
from citemark_service.ledger.tables import rollouts
from citemark_service.ledger.view import WINDOW, LedgerView
from citemark_service.score.pipeline import Pipeline
from citemark_service.web.ui import links
from citemark_service.web.ui.templates import Templates
from citemark_service.web.ui.views import group as group_view
from citemark_service.web.ui.views import step as step_view
from citemark_service.web.ui.views.curves import component_charts, reward_chart
from citemark_service.web.ui.views.lists import (
    GroupLine,
    RolloutLine,
    farthest,
    group_line,
    rollout_line,
    step_line,
    worst_and_best,
)
from citemark_service.web.ui.views.naming import (
    group_title,
    number,
    run_title,
    state,
    step_title,
    trail,
    when,
)
from citemark_service.web.ui.views.rollout import RolloutPage, around, rollout_page
from citemark_service.web.ui.views.runs import run_line

READ_S: Final = 10.0
"""How long one page may read."""

_RUNS: Final = 100
_SPARK_POINTS: Final = 40
_CURVE_POINTS: Final = 400
_STEPS: Final = 50
_LATEST: Final = 4
_EXTREMES: Final = 5
_FILTERED: Final = 100
_WIDEST: Final = 25
_SIBLINGS: Final = 64
_SAMPLES: Final = 32

FILTERS: Final = {
    "failed": ("Failed", "Rollouts whose judge failed, the latest first: they have no reward."),
    "citation": ("Lowest citation", "Judged rollouts by citation F1, the lowest first."),
    "siblings": (
        "Largest disagreement",
        "Groups by the spread of their rewards, each with the sample that is farthest from the "
        "group's mean.",
    ),
    "addressed": (
        "Talks to the judge",
        "Rollouts with text that addresses a grader, the latest first. Reported, never scored.",
    ),
}
"""By the name in the address: the title and what it shows."""


class NoSuchPage(RequestError):
    """Nothing is kept under this address, or no longer."""

    status = 404
    error = "not_found"


class Pages:
    """Makes the pages. Safe in several threads."""

    def __init__(self, *, view: LedgerView, pipeline: Pipeline, templates: Templates) -> None:
        self._view = view
        self._pipeline = pipeline
        self._templates = templates

    def within_time(self, page: Callable[[], str]) -> str:
        """A page whose reads end in time. Raises `LedgerError` where they do not."""
        with self._view.within(READ_S):
            return page()

    def runs(self, waiting: int | None) -> str:
        """Every run, the latest first.

        Args:
            waiting: rollouts that wait for a ledger that cannot be written now; None where it can.
        """
        rows = self._view.latest_runs(limit=_RUNS + 1)
        lines = [
            run_line(row, self._view.curve(row["run"], points=_SPARK_POINTS))
            for row in rows[:_RUNS]
        ]
        return self._templates.html("runs", lines=lines, more=len(rows) > _RUNS, waiting=waiting)

    def run(self, name: str, before: int | None) -> str:
        """A run: its curves, the worst and best of its latest steps, its steps."""
        curve = self._view.curve(name, points=_CURVE_POINTS)
        if not curve:
            raise NoSuchPage("no rollout of this run is kept")
        steps = self._view.latest_steps(name, before=before, limit=_STEPS + 1)
        recent = self._recent(name)
        worst, best = worst_and_best(recent, _EXTREMES)
        refused = [row for row in recent if state(row) == "refused"]
        return self._templates.html(
            "run",
            run=name,
            title=run_title(name),
            trail=trail(name)[:-1],
            filters=FILTERS,
            show=None,
            reward=reward_chart(curve),
            components=component_charts(curve),
            stretched=any(each["step"] != each["last"] for each in curve),
            single=len(curve) == 1,
            worst=[rollout_line(row) for row in worst],
            best=[rollout_line(row) for row in best],
            recent=_told_steps(recent),
            refused=len(refused),
            refused_at=refused[0]["step"] if refused else None,
            steps=[step_line(row) for row in steps[:_STEPS]],
            older=steps[_STEPS - 1]["step"] if len(steps) > _STEPS else None,
        )

    def _recent(self, run: str) -> list[Record]:
        """Rollouts of the latest steps, as many as a step's page looks at in all."""
        found: list[Record] = []
        for step in self._view.latest_steps(run, limit=_LATEST):
            if len(found) < WINDOW and (not found or step["step"] != NO_STEP):
                left = WINDOW - len(found)
                found += self._view.window(run, step["step"], limit=left)
        return found

    def filtered(self, name: str, show: str) -> str:
        """Rollouts of a run under one of the filters."""
        title, told = FILTERS[show]
        return self._templates.html(
            "filtered",
            run=name,
            title=title,
            told=told,
            trail=trail(name),
            filters=FILTERS,
            show=show,
            limit=_WIDEST if show == "siblings" else _FILTERED,
            lines=[] if show == "siblings" else self._under(name, show),
            pairs=self._disagreeing(name) if show == "siblings" else [],
        )

    def _under(self, run: str, show: str) -> list[RolloutLine]:
        column = rollouts.c
        condition, order = _FILTER[show]
        rows = self._view.rollouts(
            Place(run=run), condition, order=[order, column.seq], limit=_FILTERED
        )
        return self._lines(rows)

    def _lines(self, rows: Sequence[Record]) -> list[RolloutLine]:
        questions = self._view.questions(rows)
        return [rollout_line(row, questions) for row in rows]

    def _disagreeing(self, run: str) -> list[tuple[GroupLine, RolloutLine]]:
        pairs = []
        groups = self._view.groups(Place(run=run), limit=_WIDEST)
        questions = self._view.questions(groups)
        for row in groups:
            place = Place(run, row["step"], row["group_key"])
            odd = farthest(self._view.siblings(place, limit=_SIBLINGS))
            if odd is not None:
                pairs.append((group_line(row, questions), rollout_line(odd)))
        return pairs

    def step(self, run: str, step: int, sort: str, show: str | None) -> str:
        """A step: its distribution, its criteria, its groups and its rollouts."""
        sums = self._view.step(run, step)
        if sums is None:
            raise NoSuchPage("no rollout of this step is kept")
        rows = self._view.window(run, step)
        below, above = self._view.neighbours(run, step)
        groups = self._view.groups(Place(run=run, step=step), limit=_WIDEST)
        questions = self._view.questions(groups)
        listed = step_view.listed(rows, sort, show)
        return self._templates.html(
            "step",
            run=run,
            number=step,
            title=step_title(step),
            trail=trail(run),
            sums=step_line(sums),
            first=when(sums["first_at"]),
            last=when(sums["last_at"]),
            looked=len(rows),
            distribution=step_view.distribution(rows),
            rubrics=step_view.rubric_means(self._view.samples(rows)),
            groups=[group_line(row, questions) for row in groups],
            sort=sort,
            sorts=step_view.ORDERS,
            show=show,
            outcomes=step_view.outcomes(rows),
            found=len(listed),
            lines=self._lines(listed[:_FILTERED]),
            previous=None if below is None else links.step(run, below),
            next=None if above is None else links.step(run, above),
        )

    def group(self, run: str, step: int, key: str) -> str:
        """The samples of a prompt side by side."""
        rows = self._view.siblings(Place(run, step, key), limit=_SAMPLES + 1)
        if not rows:
            raise NoSuchPage("no rollout of this group is kept")
        samples = group_view.best_first(self._view.samples(rows[:_SAMPLES]))
        first = self._view.rollout(rows[0]["seq"])
        return self._templates.html(
            "group",
            title=group_title(key),
            trail=trail(run, step),
            question="" if first is None else first.rollout.question,
            columns=group_view.columns(samples),
            rows=group_view.rows(samples),
            left=len(rows) - len(samples),
        )

    def rollout(self, seq: int) -> str:
        """One rollout with everything that led to its reward."""
        kept = self._view.rollout(seq)
        if kept is None:
            raise NoSuchPage("this rollout is not, or no longer, kept")
        step = NO_STEP if kept.step is None else kept.step
        place = Place(kept.run or "", step, kept.group)
        siblings = self._view.siblings(place, limit=_SIBLINGS)
        return self._templates.html(
            "rollout",
            page=_rollout_page(kept.rollout, kept.result, self._pipeline),
            around=around(kept, siblings),
        )

    def judge(self, seq: int) -> str:
        """What the judge was asked about a rollout, worded again, and what it said."""
        kept = self._view.rollout(seq)
        if kept is None:
            raise NoSuchPage("this rollout is not, or no longer, kept")
        return self._templates.html(
            "judge",
            id=kept.result.id,
            trail=[*trail(kept.run or "", kept.step, kept.group), (links.rollout(seq), "rollout")],
            prompts=self._prompts(kept),
            replies=kept.replies,
            cached=kept.result.cached,
            judged=kept.result.refusal is None,
            then=JudgeIdentity(kept.result.judge.model, kept.result.versions.prompts),
            now=self._pipeline.judged_by,
        )

    def _prompts(self, kept: KeptRollout) -> tuple[Words, ...]:
        with suppress(InvalidRequest):  # its static set is no longer there
            return self._pipeline.prompts(kept.rollout, kept.result.knobs)
        return ()


def scored_page(
    templates: Templates, pipeline: Pipeline, rollout: Rollout, result: ScoreResult
) -> str:
    """The page of a rollout that `pipeline` scored just now."""
    return templates.html("rollout", page=_rollout_page(rollout, result, pipeline), around=None)


def _rollout_page(rollout: Rollout, result: ScoreResult, pipeline: Pipeline) -> RolloutPage:
    static = pipeline.static_set(result.versions.static_rubrics)
    return rollout_page(rollout, result, () if static is None else static.criteria)


_FILTER: Final[dict[str, tuple[ColumnElement[bool], ColumnElement[Any]]]] = {
    "failed": (rollouts.c.failure.is_not(None), rollouts.c.seq.desc()),
    "citation": (rollouts.c.citation_f1.is_not(None), rollouts.c.citation_f1.asc()),
    "addressed": (rollouts.c.addressed > 0, rollouts.c.seq.desc()),
}


def _told_steps(rows: list[Record]) -> str:
    numbers = [row["step"] for row in rows]
    if not numbers or max(numbers) == NO_STEP:
        return f"the latest {number(len(rows), 0)} rollouts"
    low, high = min(numbers), max(numbers)
    return f"step {high}" if low == high else f"steps {low} to {high}"
