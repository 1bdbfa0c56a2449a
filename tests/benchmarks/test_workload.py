"""The benchmark's rollouts are what the bars are stated for."""

import json

import pytest

from citemark_schemas import Polarity, Rollout
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.sources import read_sources
from workload import Workload, training_step


@pytest.fixture(scope="module")
def step() -> Workload:
    return training_step()


def rollouts(bodies: list[bytes]) -> list[Rollout]:
    return [Rollout.model_validate_json(body) for body in bodies]


def test_a_step_is_32_prompts_of_8_samples_that_differ_in_their_answer_alone(step):
    every = rollouts(step.singles(1))
    groups = [every[at : at + 8] for at in range(0, len(every), 8)]
    assert len(groups) == 32
    assert len({sample.response for sample in every}) == 256
    for group in groups:
        assert len({(s.question, s.tool_output, s.criteria) for s in group}) == 1
    assert len({group[0].question for group in groups}) == 32


def test_each_rollout_has_the_stated_rubrics_sources_and_claims(step):
    for rollout in rollouts(step.singles(1))[::8]:
        polarities = [criterion.polarity for criterion in rollout.criteria]
        sources = read_sources(rollout.tool_output, None)
        answer = read_answer(rollout.response)
        assert (len(polarities), polarities.count(Polarity.NEGATIVE)) == (8, 1)
        assert [len(s.text) for s in sources.by_id.values()] == [2000] * 8
        assert sorted(len(claim.ids) for claim in answer.claims) == [1, 1, 1, 1, 2, 2]
        assert all(sources.by_id.keys() >= set(claim.ids) for claim in answer.claims)
        assert all(claim.malformed is None for claim in answer.claims)
        assert len(answer.sentences) == 2


def test_another_stamp_makes_every_text_another(step):
    """All that a judgement could be kept by: sources, claims, sentences, rubrics, question."""
    found = []
    for stamp in (1, 2):
        (rollout,) = rollouts(step.singles(stamp)[:1])
        answer, sources = read_answer(rollout.response), read_sources(rollout.tool_output, None)
        rubrics = (criterion.description for criterion in rollout.criteria)
        claims, sentences, read = (
            {part.text for part in parts}
            for parts in (answer.claims, answer.sentences, sources.by_id.values())
        )
        found.append({rollout.question, *rubrics, *claims, *sentences, *read})
    first, second = found
    assert len(first) == len(second) > 20
    assert first.isdisjoint(second)
    assert step.singles(1) == training_step().singles(1)


def test_a_batch_is_the_singles_in_order():
    small = training_step(prompts=2, samples=3, snippet_characters=100)
    items = json.loads(small.batch(7))["items"]
    assert items == [json.loads(body) for body in small.singles(7)]
