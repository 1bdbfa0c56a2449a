"""Prompts with more tokens than the judge takes are cut until it takes them, and say so."""

import re
from typing import Any

import pytest

from citemark_service.judges.language.texts import size
from support.judge_tasks import by_level, by_shape
from support.judged_service import asked_service
from support.scripted_judge import Answer, ScriptedJudge, Status

LIMIT = 32_768
DIGITS = re.compile(r"\d")
GOOD, READ = by_shape(V=2, S=2, U=1, C=1), by_level(V=2, S=2, U=1, C=1)
NUMBERS = "\n".join(
    " ".join(str(10_000_000 + at * 7919 + column) for column in range(6)) for at in range(700)
)
FACT = "The Alder viaduct opened in 1871."
WORDS = {
    "vllm": "This model's maximum context length is {limit} tokens. However, you requested {asked}"
    " tokens ({asked} in the messages, 0 in the completion).",
    "sglang": "The input ({asked} tokens) is longer than the model's context length ({limit}).",
    "no numbers": "Please reduce the length of the messages.",
}


def tokens_of(request: dict[str, Any]) -> int:
    """A token a digit, as most tokenizers have it, and one for four other bytes."""
    said = [message["content"] for message in request.get("messages", ())]
    text = "".join(said or [request["instructions"], request["state"]])
    digits = len(DIGITS.findall(text))
    return digits + (size(text) - digits) // 4


class Bounded:
    """A judge that refuses prompts over `limit` tokens in these words."""

    def __init__(self, words: str, limit: int = LIMIT) -> None:
        self.words = words
        self.limit = limit
        self.refused = 0
        self.taken: list[dict[str, Any]] = []

    def __call__(self, request: dict[str, Any]) -> Answer:
        asked = tokens_of(request) + request.get("max_tokens", 1)
        if asked > self.limit:
            self.refused += 1
            return Status(400, self.words.format(limit=self.limit, asked=asked))
        self.taken.append(request)
        return READ(request) if "questions" in request else GOOD(request)


def rollout(**texts: str) -> dict[str, Any]:
    fields = {"question": "When did it open?", "source": FACT, "answer": "", **texts}
    return {
        "question": fields["question"],
        "tool_output": f"<snippet id=S_1>{fields['source']}</snippet>",
        "response": f"<answer>{fields['answer']}<snippet id=S_1>{FACT}</snippet></answer>",
        "positive_rubrics": ["Gives the year"],
    }


async def score(judge: Bounded, *rollouts: dict[str, Any]) -> list[dict[str, Any]]:
    async with ScriptedJudge(judge) as server, asked_service(server) as client:
        reply = await client.post("/v1/score", json={"items": list(rollouts)})
        return list(reply.raise_for_status().json()["items"])


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize(
    "parts", [("source",), ("source", "answer"), ("source", "answer", "question")]
)
async def test_numbers_that_are_a_token_a_digit_earn_a_reward(parts, words):
    judge = Bounded(words)
    result, short = await score(judge, rollout(**dict.fromkeys(parts, NUMBERS)), rollout())
    assert result["reward"] > 0
    told = {warning["kind"]: warning["count"] for warning in result["warnings"]}
    assert told.keys() == {f"{part}_cut".replace("source_", "sources_") for part in parts}
    for kind, count in told.items():
        judged = [*result["rubrics"], *result["claims"], *result["uncited"]]
        assert count == sum(kind in verdict["caveats"] for verdict in judged) > 0
    assert short["warnings"] == []
    # As much is shown as fits, and what is short is whole.
    whole = [each for each in judge.taken if "Gives the year" in each["messages"][-1]["content"]]
    assert max(map(tokens_of, whole)) > LIMIT * (0.7 if "limit" in words else 0.5)
    assert judge.refused <= 6


async def test_claims_whose_sources_do_not_fit_together_are_asked_about_apart():
    sources = "".join(f"<snippet id=S_{n}>{n} {NUMBERS[:9000]}</snippet>" for n in range(4))
    claims = "".join(f"<snippet id=S_{n}>It says {n}.</snippet>" for n in range(4))
    judge = Bounded(WORDS["vllm"], 14_000)
    asked = {**rollout(), "tool_output": sources, "response": f"<answer>{claims}</answer>"}
    (result,) = await score(judge, asked)
    assert [claim["support"] for claim in result["claims"]] == [1.0] * 4
    assert all(len(claim["judged"]) == 1 for claim in result["claims"])


@pytest.mark.parametrize("asks", ["write", "read"])
async def test_a_server_that_stops_counting_is_asked_to_tokenize(asks):
    words = "maximum context length is {limit} tokens, your prompt has at least 32769 input tokens"
    judge = Bounded(words)
    async with ScriptedJudge(judge) as server, asked_service(server, judge_asks=asks) as client:
        server.tokenize, server.max_model_len = tokens_of, LIMIT
        asked = rollout(source=NUMBERS, answer=NUMBERS, question=NUMBERS)
        result = (await client.post("/v1/score", json=asked)).json()
    assert result["reward"] > 0
    assert judge.refused <= 4
    assert max(map(tokens_of, judge.taken)) > LIMIT * 0.7


PROSE = " ".join(f"Trains crossed the Alder viaduct in {year}." for year in range(1871, 2871))


async def test_criteria_stay_whole_where_there_is_room_for_a_third_of_a_prompt():
    judge = Bounded(WORDS["vllm"], 12_000)
    (result,) = await score(judge, rollout(source=NUMBERS))
    assert [warning["kind"] for warning in result["warnings"]] == ["sources_cut"]


@pytest.mark.parametrize("listed", [True, False])
async def test_a_short_context_is_kept_to_once_it_is_known(listed):
    judge = Bounded(WORDS["sglang"], 8192)
    async with ScriptedJudge(judge) as server, asked_service(server) as client:
        if listed:
            server.max_model_len = judge.limit
            assert (await client.get("/readyz")).status_code == 200
        results = [
            (await client.post("/v1/score", json=rollout(source=PROSE, answer=said))).json()
            for said in ("One. ", "Two. ")
        ]
    assert judge.refused == (0 if listed else 2)
    assert [warning["kind"] for each in results for warning in each["warnings"]] == [
        "sources_cut"
    ] * 2
    assert max(map(tokens_of, judge.taken)) > 8192 * 0.4


async def test_verdicts_on_a_cut_prompt_are_not_kept():
    judge = Bounded(WORDS["vllm"])
    long, short = rollout(source=NUMBERS), rollout()
    async with ScriptedJudge(judge) as server, asked_service(server) as client:
        body = {"items": [long, short]}
        results = [(await client.post("/v1/score", json=body)).json()["items"] for _ in range(2)]
    assert [[each["cached"] for each in items] for items in results] == [[False] * 2, [False, True]]
    assert results[0][0]["warnings"] == results[1][0]["warnings"] != []


async def test_a_context_for_no_prompt_at_all_is_a_failure_in_the_servers_words():
    judge = Bounded(WORDS["vllm"], 100)
    (result,) = await score(judge, rollout(source=NUMBERS))
    assert result["failure"]["kind"] == "judge_rejected"
    assert "maximum context length is 100 tokens" in result["failure"]["message"]
    assert judge.refused <= 2
