"""What a verdict is kept under: everything it depends on, and nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import FormatReport, Polarity, Source
from citemark_service.judges.tasks import JudgeIdentity, Origin
from citemark_service.parsing.parsed import Sources, SourceSnippet
from citemark_service.verdicts.keys import Keys
from support.judge_tasks import (
    CRITERIA,
    QUESTION,
    RESPONSE,
    TOOL_OUTPUT,
    claims_task,
    criteria_task,
)

KEYS = Keys(JudgeIdentity("model", "prompts"))
TEXT = st.text(max_size=4)


def criteria_keys(task=None, keys=KEYS):
    return [item.key for item in keys.criteria(task or criteria_task())]


def claim_keys(task=None, keys=KEYS):
    task = task or claims_task()
    return [item.key for item in keys.citations(task)]


def renamed(text):
    """The same snippets under other ids."""
    return text.replace("S_1", "p9").replace("S_2", "p7").replace("S_3", "p8")


def test_every_item_of_a_rollout_has_a_key_of_its_own():
    keys = criteria_keys() + claim_keys()
    assert len(set(keys)) == len(keys) == 6


@pytest.mark.parametrize(
    "other", [JudgeIdentity("other", "prompts"), JudgeIdentity("model", "other")]
)
def test_another_model_or_prompt_shares_no_key(other):
    keys = Keys(other)
    assert not set(criteria_keys()) & set(criteria_keys(keys=keys))
    assert not set(claim_keys()) & set(claim_keys(keys=keys))


@pytest.mark.parametrize(
    "changed",
    [
        criteria_task(question=QUESTION + " "),
        criteria_task(RESPONSE.replace("1871", "1872")),
        criteria_task(tool_output=TOOL_OUTPUT.replace("1962", "1963")),
        criteria_task(tool_output=TOOL_OUTPUT.replace("id=S_3", "id=S_4")),
        criteria_task(tool_output=""),
    ],
    ids=["question", "answer", "source", "source id", "no sources"],
)
def test_a_criterion_depends_on_question_answer_and_sources(changed):
    assert not set(criteria_keys()) & set(criteria_keys(changed))


@pytest.mark.parametrize(
    "update", [{"title": "T"}, {"description": "D"}, {"polarity": Polarity.NEGATIVE}]
)
def test_a_criterion_depends_on_its_own_statement(update):
    other = criteria_task(criteria=(CRITERIA[0].model_copy(update=update), *CRITERIA[1:]))
    changed, *same = zip(criteria_keys(), criteria_keys(other), strict=True)
    assert changed[0] != changed[1]
    assert all(one == two for one, two in same)


def test_weight_set_order_format_and_caller_change_no_key():
    weighted = [c.model_copy(update={"weight": 7.0, "source": Source.STATIC}) for c in CRITERIA]
    other = replace(
        criteria_task(criteria=weighted[::-1]),
        format=FormatReport(checks={"x": False}, bonus=0.0),
        origin=Origin("someone", 10),
    )
    assert criteria_keys(other) == criteria_keys()[::-1]
    assert claim_keys(replace(claims_task(), origin=Origin("someone", 10))) == claim_keys()


def test_a_claim_has_the_same_key_wherever_and_under_whatever_ids_it_stands():
    others = TOOL_OUTPUT + "<snippet id=S_9>Unrelated.</snippet>"
    task = claims_task(renamed(RESPONSE) + " ", tool_output=renamed(others))
    assert claim_keys(task) == claim_keys()
    assert [item.ids for item in KEYS.citations(task)][:2] == [("p9",), ("p7", "p8")]


def test_a_claim_depends_on_the_texts_it_cites_and_their_order():
    swapped = claim_keys(claims_task(RESPONSE.replace("S_2,S_3", "S_3,S_2")))
    fewer = claim_keys(claims_task(RESPONSE.replace("S_2,S_3", "S_2")))
    told = claim_keys(claims_task(tool_output=TOOL_OUTPUT.replace("48,000", "48,001")))
    for other in (swapped, fewer, told):
        assert [a == b for a, b in zip(claim_keys(), other, strict=True)] == [True, False, True]


def test_claims_and_sentences_depend_on_the_question():
    assert not set(claim_keys()) & set(claim_keys(claims_task(question="Another?")))


@given(st.tuples(TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT))
def test_text_cannot_be_moved_over_a_border(one, two):
    def keys(parts):
        question, title, description = (f"x{part}" for part in parts)
        statement = CRITERIA[0].model_copy(update={"title": title, "description": description})
        return criteria_keys(criteria_task(question=question, criteria=[statement]))

    assert (keys(one) == keys(two)) is (one == two)


def test_unpaired_surrogates_have_keys():
    assert criteria_keys(criteria_task(question="\ud800")) != criteria_keys(
        criteria_task(question="\udfff")
    )


class Counted(str):
    """Text that knows how often its bytes were asked for."""

    times = 0

    def encode(self, *args, **options):
        self.times += 1
        return super().encode(*args, **options)


def test_a_snippet_that_every_claim_cites_is_read_once():
    """Forty claims may cite the same 4 MB."""
    claims = "".join(f"<snippet id=S_1,S_2>Claim {n}.</snippet>" for n in range(40))
    task = claims_task(f"<answer>{claims}</answer>")
    texts = {name: Counted(found.text) for name, found in task.sources.by_id.items()}
    by_id = {name: SourceSnippet(name, text) for name, text in texts.items()}
    keys = claim_keys(replace(task, sources=Sources(by_id)))
    assert keys == claim_keys(task)
    assert [text.times for text in texts.values()] == [1, 1, 0]
