"""What a verdict is kept under: everything it depends on, and nothing else."""

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from citemark_schemas import Criterion, FormatReport, Polarity, Source, Turn
from citemark_service.judges.language.render import PromptWriter
from citemark_service.judges.tasks import CriteriaTask, JudgeIdentity, Origin
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.parsed import Sources, SourceSnippet
from citemark_service.parsing.sources import read_sources
from citemark_service.verdicts.cache import Keys
from support.judge_tasks import (
    CRITERIA,
    QUESTION,
    RESPONSE,
    TOOL_OUTPUT,
    claims_task,
    criteria_task,
)

KEYS = Keys(JudgeIdentity("model", "prompts"))
TEXT = st.text(st.characters(), max_size=4)  # with unpaired surrogates
# Which of three keys a change leaves as they are.
NONE, FIRST, SECOND = [True] * 3, [False, True, True], [True, False, True]
ALL = [False] * 3


def keys_of(task, keys=KEYS):
    items = keys.criteria(task) if isinstance(task, CriteriaTask) else keys.citations(task)
    return [item.key for item in items]


def stating(**update):
    return criteria_task(criteria=(CRITERIA[0].model_copy(update=update), *CRITERIA[1:]))


def renamed(text):
    return text.replace("S_1", "p9").replace("S_2", "p7").replace("S_3", "p8")


OTHERS = TOOL_OUTPUT + "<snippet id=S_9>Unrelated.</snippet>"
RENAMED = claims_task(renamed(RESPONSE) + " ", tool_output=renamed(OTHERS))


def test_every_item_of_a_rollout_has_a_key_of_its_own():
    keys = keys_of(criteria_task()) + keys_of(claims_task())
    assert len(set(keys)) == len(keys) == 6


@pytest.mark.parametrize("plain", [criteria_task(), claims_task()], ids=["criteria", "claims"])
@pytest.mark.parametrize(
    "other", [JudgeIdentity("other", "prompts"), JudgeIdentity("model", "other")]
)
def test_another_model_or_prompt_shares_no_key(plain, other):
    assert not set(keys_of(plain)) & set(keys_of(plain, Keys(other)))


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (criteria_task(question=QUESTION + " "), ALL),
        (replace(criteria_task(), conversation=(Turn(role="user", content="x"),)), ALL),
        (replace(claims_task(), conversation=(Turn(role="user", content="x"),)), ALL),
        (criteria_task(RESPONSE.replace("1871", "1872")), ALL),
        (criteria_task(tool_output=TOOL_OUTPUT.replace("1962", "1963")), ALL),
        (criteria_task(tool_output=TOOL_OUTPUT.replace("id=S_3", "id=S_4")), ALL),
        (criteria_task(tool_output=""), ALL),
        (stating(title="T"), FIRST),
        (stating(description="D"), FIRST),
        (stating(polarity=Polarity.NEGATIVE), FIRST),
        (stating(weight=7.0, source=Source.STATIC), NONE),
        (replace(criteria_task(), origin=Origin("someone", 10)), NONE),
        (replace(criteria_task(), format=FormatReport(checks={"x": False}, bonus=0.0)), NONE),
        (claims_task(question="Another?"), ALL),
        (claims_task(RESPONSE.replace("S_2,S_3", "S_3,S_2")), SECOND),
        (claims_task(RESPONSE.replace("S_2,S_3", "S_2")), SECOND),
        (claims_task(tool_output=TOOL_OUTPUT.replace("48,000", "48,001")), SECOND),
        (replace(claims_task(), origin=Origin("someone", 10)), NONE),
        (RENAMED, NONE),
    ],
)
def test_only_what_is_judged_changes_a_key(changed, same):
    plain = criteria_task() if isinstance(changed, CriteriaTask) else claims_task()
    assert [a == b for a, b in zip(keys_of(plain), keys_of(changed), strict=True)] == same


RUBRICS = [Criterion(title=f"t{n}", description=f"{n} " + "long " * 400) for n in range(12)]
CLAIMS = [f"<snippet id=S_1>{rubric.description}</snippet>" for rubric in RUBRICS]


@pytest.mark.parametrize(
    ("whole", "alone"),
    [
        (criteria_task(criteria=RUBRICS), criteria_task(criteria=RUBRICS[:1])),
        (
            claims_task(f"<answer>{''.join(CLAIMS)}</answer>"),
            claims_task(f"<answer>{CLAIMS[0]}</answer>"),
        ),
    ],
    ids=["criteria", "claims"],
)
def test_a_text_that_is_cut_is_known_by_what_is_shown_of_it(whole, alone):
    writer = PromptWriter(secret=b"s", prompt_bytes=20_000)
    cut = writer.cut(whole)
    names = "criteria" if isinstance(cut, CriteriaTask) else "claims"
    part = replace(cut, **{names: getattr(cut, names)[:1]})
    assert keys_of(cut)[0] == keys_of(part)[0] != keys_of(writer.cut(alone))[0]
    assert keys_of(writer.cut(alone)) == keys_of(alone)


def test_a_number_that_names_another_source_is_another_answer():
    tasks = []
    for ids in ("ab", "aab"):
        sources = read_sources(json.dumps([{"id": i, "text": f"Of {i}."} for i in ids]), None)
        answer = read_answer("<answer>It opened [2].</answer>", "auto", sources)
        tasks.append(replace(criteria_task(), sources=sources, answer=answer))
    assert tasks[0].sources.digest == tasks[1].sources.digest
    assert not {*keys_of(tasks[0])} & {*keys_of(tasks[1])}


def test_keys_come_in_the_tasks_order_with_the_ids_of_its_claims():
    assert keys_of(criteria_task(criteria=CRITERIA[::-1])) == keys_of(criteria_task())[::-1]
    assert [item.ids for item in KEYS.citations(RENAMED)] == [("p9",), ("p7", "p8"), ()]


@given(st.tuples(TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT))
@example(("\ud800", "", ""), ("\udfff", "", ""))
def test_text_cannot_be_moved_over_a_border(one, two):
    def keys(parts):
        question, title, description = (f"x{part}" for part in parts)
        statement = CRITERIA[0].model_copy(update={"title": title, "description": description})
        return keys_of(criteria_task(question=question, criteria=[statement]))

    assert (keys(one) == keys(two)) is (one == two)


class Counted(str):
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
    assert keys_of(replace(task, sources=Sources(by_id))) == keys_of(task)
    assert [text.times for text in texts.values()] == [1, 1, 0]
