"""Whatever the knobs are, the terms of a result are its reward, in every place that shows one.

Each knob of `Knobs.model_fields` is turned, with values of its own type and bounds, so that a new
one is covered without being named here.
"""

import io
import math
import re
from itertools import cycle
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo
from rich.console import Console

from citemark_schemas import (
    ClaimVerdict,
    CriterionVerdict,
    Failure,
    FailureKind,
    Knobs,
    RefusalKind,
    Rollout,
    ScoreResult,
    SentenceVerdict,
)
from citemark_service.cli.explain import render_result
from citemark_service.errors import NotJudged
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.tasks import CitationVerdicts
from citemark_service.rescoring.compare import Change, rescore
from citemark_service.score.explanation import losses, reason, reward_line, rubric_line
from citemark_service.score.formula import attainable, restore_terms
from support.examples import EMBEDDED, LIBRARY, ROLLOUTS
from support.examples import score_one as score

SUMMAND = re.compile(r"([+−]?) ?(−?[\d.]+(?:e\+?\d+|e−\d+)?) × (\d\.\d{3,}) \(")

units = st.floats(0, 1, allow_nan=False)


def values_of(name: str, field: FieldInfo) -> st.SearchStrategy[Any]:
    """Valid values of a knob, from its declaration."""
    if field.annotation is bool:
        return st.booleans()
    if get_origin(field.annotation) is Literal:
        return st.sampled_from(get_args(field.annotation))
    if field.annotation is str:  # the only knobs that are names so far are names of sets
        return st.sampled_from([each.name for each in LIBRARY.sets()])
    bounds = {key: getattr(each, key) for each in field.metadata for key in ("ge", "gt", "le", "lt")
              if hasattr(each, key) and getattr(each, key) is not None}  # fmt: skip
    low = bounds.get("ge", bounds.get("gt", -1e6))
    high = bounds.get("le", bounds.get("lt", 1e6))
    if field.annotation is int:
        return st.integers(low + ("gt" in bounds), high - ("lt" in bounds))
    assert field.annotation is float, f"no values are known for the knob {name}"
    return st.floats(low, high, exclude_min="gt" in bounds, exclude_max="lt" in bounds)


VALUES = {name: values_of(name, field) for name, field in Knobs.model_fields.items()}
any_knobs = st.fixed_dictionaries({}, optional=VALUES).map(lambda chosen: Knobs(**chosen))


class DrawnJudge(EmbeddedJudge):
    """Answers with the given numbers, over and over."""

    def __init__(self, numbers: list[float]) -> None:
        super().__init__()
        self._numbers = cycle(numbers)

    async def judge_criteria(self, task, *, meter, deadline):
        return tuple(CriterionVerdict(score=next(self._numbers)) for _ in task.criteria)

    async def judge_citations(self, task, *, meter, deadline):
        claims = tuple(
            ClaimVerdict(
                support=next(self._numbers),
                substantive=next(self._numbers),
                contributing={each: next(self._numbers) for each in cited.ids},
            )
            for cited in task.claims
        )
        sentences = tuple(SentenceVerdict(factual=next(self._numbers)) for _ in task.sentences)
        return CitationVerdicts(claims, sentences)


judges = st.just(EMBEDDED) | st.lists(units, min_size=1).map(DrawnJudge)
rollouts = st.builds(
    lambda rollout, reason: rollout.model_copy(update={"finish_reason": reason}),
    st.sampled_from(ROLLOUTS),
    st.sampled_from(["stop", "length"]),
)


def printed_reward(result: ScoreResult) -> str:
    """The last line that `citemark explain` prints of a reward."""
    terminal = Console(file=io.StringIO(), width=1_000)
    tables = {"rubrics": (), "claims": (), "uncited": ()}  # slow to draw, and not looked at here
    terminal.print(render_result(result.model_copy(update=tables), None))
    assert isinstance(terminal.file, io.StringIO)
    return [line for line in terminal.file.getvalue().splitlines() if line[:6] == "reward"][-1]


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def assert_terms_are_the_reward(rollout: Rollout, result: ScoreResult) -> None:
    terms = result.terms
    assert all(0 <= term.value <= 1 for term in terms)
    assert result.reward == math.fsum(term.weight * term.value for term in terms)
    assert ScoreResult.model_validate_json(result.model_dump_json()) == result

    shown = printed_reward(result)
    heaviest = max((abs(term.weight) for term in terms), default=0.0)
    rounding = 0.001 + 0.001 * heaviest * len(terms)
    assert number(shown.split()[1].rstrip(":")) == pytest.approx(result.reward, abs=rounding)
    if result.refusal is None:
        summands = SUMMAND.findall(shown)
        assert len(summands) == len(terms)
        total = math.fsum(
            (-1 if sign == "−" else 1) * number(weight) * number(value)
            for sign, weight, value in summands
        )
        assert total == pytest.approx(result.reward, abs=rounding)

    amounts = [loss.amount for loss in losses(result)]
    assert amounts == sorted(amounts, reverse=True)
    found = math.fsum([*amounts, result.reward])
    assert found == pytest.approx(attainable(terms), abs=1e-9 * max(1.0, heaviest))

    if result.refusal is not None and result.refusal.kind is RefusalKind.NOT_STOPPED:
        with pytest.raises(NotJudged):
            rescore(rollout, result, Change(Knobs(), {}))
    else:
        again = rescore(rollout, result, Change(Knobs(), {}))
        assert (again.terms, again.reward) == (terms, result.reward)


@pytest.mark.parametrize("name", VALUES)
@settings(max_examples=25)
@given(st.data())
def test_each_knob_shows_in_the_terms_as_it_counts(name, data):
    knobs = Knobs(**{name: data.draw(VALUES[name])})
    rollout, judge = data.draw(rollouts), data.draw(judges)
    assert_terms_are_the_reward(rollout, score(rollout, knobs, judge))


@given(rollouts, any_knobs, judges)
def test_all_knobs_together(rollout, knobs, judge):
    assert_terms_are_the_reward(rollout, score(rollout, knobs, judge))


@pytest.mark.parametrize(
    ("knobs", "finish_reason"),
    [
        ({}, "stop"),
        ({"verification_reward": 10.0, "citation_weight": 0.7}, "stop"),
        ({"gate_judge_score_with_format_bonus": True}, "stop"),
        ({"apply_citation_reward": False}, "stop"),
        ({"non_stop_penalty": True, "non_stop_penalty_value": -0.5}, "length"),
    ],
)
@pytest.mark.parametrize("rollout", ROLLOUTS, ids=lambda rollout: rollout.id)
def test_results_that_were_kept_without_terms_get_them(rollout, knobs, finish_reason):
    given = rollout.model_copy(update={"finish_reason": finish_reason})
    result = score(given, Knobs(**knobs))
    old = ScoreResult.model_validate_json(result.model_dump_json(exclude={"terms"}))
    assert old.terms == ()
    assert restore_terms(old) == result


def test_a_penalty_is_a_term_and_a_refusal_without_one_is_none():
    rollout = ROLLOUTS[0].model_copy(update={"finish_reason": "length"})
    penalised = score(rollout, Knobs(non_stop_penalty=True, non_stop_penalty_value=-0.5))
    (term,) = penalised.terms
    assert (term.value, term.weight, penalised.reward) == (1.0, -0.5, -0.5)
    assert [(loss.amount, loss.cause) for loss in term.lost] == [(0.5, "finish_reason is not stop")]
    refused = score(rollout.model_copy(update={"response": "nothing"}), Knobs())
    assert (refused.reward, refused.terms) == (0.0, ())
    assert refused.refusal is not None
    assert refused.refusal.message in reason(refused)


def test_the_printed_mean_and_format_bonus_make_the_printed_term():
    result = score(ROLLOUTS[0], Knobs(gate_judge_score_with_format_bonus=True))
    mean, bonus = re.findall(r"rubrics +(\S+) = .*, × (\S+) format bonus", rubric_line(result))[0]
    assert float(mean) * float(bonus) == pytest.approx(result.terms[0].value, abs=1.5e-3)
    assert "format bonus" not in rubric_line(score(ROLLOUTS[0], Knobs()))


@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0, 0.5])
def test_what_is_printed_adds_up_to_the_third_digit_at_any_scale(scale):
    result = score(ROLLOUTS[0], Knobs(verification_reward=scale, citation_weight=0.333))
    summands = SUMMAND.findall(reward_line(result))
    total = math.fsum(number(weight) * number(value) for _, weight, value in summands)
    assert total == pytest.approx(result.reward, abs=2e-3)


def test_a_failure_has_neither_terms_nor_reward():
    failure = Failure(kind=FailureKind.TIMEOUT, message="late", retryable=True)
    result = score(ROLLOUTS[0], Knobs())
    failed = result.model_copy(update={"reward": None, "terms": (), "failure": failure})
    assert restore_terms(failed) == failed
    assert losses(failed) == []
