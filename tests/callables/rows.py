"""Rows of a small data set of our own, and what the service itself says of them."""

from typing import Any

from citemark_grpo import score
from citemark_schemas import ScoreResult

QUESTION = "Since when has the Aldersund ferry run, and how long is the crossing?"
SOURCES = (
    "<snippet id=S1>The Aldersund ferry has run since 12 April 1963.</snippet>\n"
    "<snippet id=S2>The crossing takes 25 minutes in summer.</snippet>"
)
ENVELOPE: dict[str, Any] = {
    "question": QUESTION,
    "tool_output": SOURCES,
    "positive_rubrics": ["Gives 12 April 1963", {"title": "Crossing", "description": "25 minutes"}],
    "negative_rubrics": ["Speaks of the bridge"],
}
RESPONSES = (
    "<answer><snippet id=S1>The ferry has run since 12 April 1963.</snippet></answer>",
    "<answer><snippet id=S2>The crossing takes 25 minutes in summer.</snippet></answer>",
    "<answer>There is a bridge now, I believe.</answer>",
    "no answer block at all",
)


def results(url: str, responses: tuple[str, ...] = RESPONSES) -> list[ScoreResult]:
    """What `/v1/score` gives for these responses."""
    return score(url, [{**ENVELOPE, "response": response} for response in responses])


def expected(url: str, responses: tuple[str, ...] = RESPONSES) -> list[float | None]:
    """Their rewards."""
    return [result.reward for result in results(url, responses)]
