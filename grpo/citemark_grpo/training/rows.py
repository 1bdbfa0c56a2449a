"""Rows made ready: what the policy is asked, and the rollout that its answer will complete."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from citemark_grpo.training.errors import RowsUnusable
from citemark_grpo.training.loading import RawRow
from citemark_grpo.training.plan import Batch, RowRules
from citemark_grpo.training.prompt import Message, RefinerPrompt
from citemark_schemas import Knobs, Rollout
from citemark_schemas.envelope import EnvelopeError, rollout_of
from citemark_schemas.transcript import said_in

PROMPT_TOO_LONG: Final = "prompt longer than --max_prompt_token_length"
ROW_TOO_LONG: Final = "prompt with a full response longer than --max_token_length"
NO_RUBRICS: Final = "no rubric of its own, where only those are asked for"
NO_ROLLOUT: Final = "no rollout can be made of it"

_NAME_CHARACTERS: Final = 400  # a rollout's group holds 512, and a place is added

CountTokens = Callable[[Sequence[Message]], int]
"""Tokens of a prompt as the policy reads it, chat template included."""


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt to train on."""

    prompt: tuple[Message, ...]
    rollout: str
    """JSON of the `Rollout` whose `response` is still to be written."""
    tokens: int
    """Length of the prompt."""


@dataclass(slots=True)
class Prepared:
    """The rows that are left, and what became of the others."""

    rows: list[Row] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """Reasons and how many rows each took."""
    examples: dict[str, str] = field(default_factory=dict)
    """For each reason its first row, in words."""
    static_only: int = 0
    """Kept rows without a rubric of their own: the static set alone judges them."""

    def drop(self, reason: str, example: str) -> None:
        """Count a row that is left out."""
        self.dropped[reason] += 1
        self.examples.setdefault(reason, example)


class RowReader:
    """Reads rows of any shape by one set of rules.

    A row has `messages` (or `prompt` as messages), which are asked as they stand, or `question`,
    `tool_output` or `snippets`, and perhaps `reasoning`, which the refiner prompt renders. A
    template of the user's own renders every row. Rubrics and the rest of the envelope are read
    as everywhere in Citemark (`citemark_schemas.envelope`).

    Args:
        count: Counts a prompt's tokens.
        knobs: What the run fixes; a row cannot override it.
    """

    def __init__(self, rules: RowRules, *, count: CountTokens, knobs: Knobs) -> None:
        own = rules.prompt_template
        self._rules = rules
        self._count = count
        self._fixed = {*knobs.model_fields_set, "id", "run", "step", "finish_reason"}
        self._own_template = own is not None
        self._own_rubrics = bool(knobs.instance_rubrics_only)
        self.prompt = RefinerPrompt.packaged() if own is None else RefinerPrompt.of_file(own)

    def prepared(self, raw: Iterable[RawRow]) -> Prepared:
        """Every row that can be trained on, in order.

        Raises:
            RowsUnusable: none is left, or the data set or the template cannot be read.
        """
        result, names = Prepared(), set[str]()
        for number, row in enumerate(raw):
            self._take(result, row, f"row {number}", names)
        if not result.rows:
            told = "; ".join(f"{n} {why}" for why, n in result.dropped.most_common())
            raise RowsUnusable(f"{self._rules.dataset} has no row to train on: {told or 'empty'}")
        return result

    def _take(self, result: Prepared, raw: RawRow, place: str, names: set[str]) -> None:
        asked = _messages(raw)
        try:
            rollout = rollout_of({"row": raw}, response="", prompt=asked)
        except EnvelopeError as error:
            result.drop(NO_ROLLOUT, f"{place}: {error}")
            return
        if self._own_rubrics and not rollout.criteria:
            result.drop(NO_RUBRICS, place)
            return
        prompt = self._asked(asked, rollout, raw)
        tokens = self._count(prompt)
        reason = self._too_long(tokens)
        if reason is not None:
            result.drop(reason, f"{place}: {tokens} tokens")
            return
        name = _unused(rollout.id or place, place, names)
        named = rollout.model_copy(update={"group": name})
        body = named.model_dump_json(exclude_unset=True, exclude=self._fixed)
        result.rows.append(Row(prompt, body, tokens))
        result.static_only += not rollout.criteria

    def _asked(
        self, asked: Sequence[Message] | None, rollout: Rollout, raw: RawRow
    ) -> tuple[Message, ...]:
        if asked is not None and not self._own_template:
            return tuple(asked)
        reasoning = raw.get("reasoning")
        return tuple(
            self.prompt.messages(
                question=rollout.question,
                tool_output=source_text(rollout),
                reasoning=reasoning if isinstance(reasoning, str) else "",
            )
        )

    def _too_long(self, tokens: int) -> str | None:
        if tokens > self._rules.max_prompt_tokens:
            return PROMPT_TOO_LONG
        if tokens + self._rules.response_tokens > self._rules.max_tokens:
            return ROW_TOO_LONG
        return None


def shortfall(rows: int, batch: Batch) -> str | None:
    """Why so many rows make no step; None where they do."""
    if rows >= batch.prompts:
        return None
    return (
        f"{rows} rows are fewer than --num_unique_prompts_rollout {batch.prompts}: "
        "no step would be whole"
    )


def source_text(rollout: Rollout) -> str:
    """The sources as the policy sees them: the raw tool output, or the snippets written out."""
    if rollout.tool_output is not None:
        return rollout.tool_output
    snippets = rollout.snippets or ()
    return "\n".join(f"<snippet id={each.id}>{each.text}</snippet>" for each in snippets)


def _messages(raw: RawRow) -> tuple[Message, ...] | None:
    """The conversation of a row without the answer at its end, which a data set for SFT has."""
    for name in ("messages", "prompt"):
        turns = _turns(raw.get(name))
        if turns:
            return turns
    return None


def _turns(cell: object) -> tuple[Message, ...] | None:
    turns = _decoded(cell)
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        return None
    if not all(isinstance(turn, Mapping) and isinstance(turn.get("role"), str) for turn in turns):
        return None
    kept = [{"role": turn["role"], "content": said_in(turn)} for turn in turns]
    while kept and kept[-1]["role"] == "assistant":
        kept.pop()
    return tuple(kept)


def _decoded(cell: object) -> Any:
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None  # a prompt that is plain text and happens to start with a bracket


def _unused(name: str, place: str, names: set[str]) -> str:
    """The row's own id, made unique: samples of two rows must not become one group."""
    short = name[:_NAME_CHARACTERS]
    unused = short if short not in names else f"{short} ({place})"
    names.add(unused)
    return unused
