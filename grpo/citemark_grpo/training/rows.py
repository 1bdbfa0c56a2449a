"""Rows into the policy's prompts and the rollouts that its answers complete."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final, Self

from jinja2 import Environment, StrictUndefined, TemplateError

from citemark_grpo.training.errors import RowsUnusable
from citemark_grpo.training.plan import RowRules
from citemark_schemas import Knobs, Rollout
from citemark_schemas.envelope import EnvelopeError, rollout_of
from citemark_schemas.transcript import said_in

PROMPT_TOO_LONG: Final = "prompt longer than --max_prompt_token_length"
ROW_TOO_LONG: Final = "prompt with a full response longer than --max_token_length"
NO_RUBRICS: Final = "no rubric of its own, where only those are asked for"
NO_ROLLOUT: Final = "no rollout can be made of it"

_NAME_CHARACTERS: Final = 400  # a rollout's group may have 512, and a place is added

Message = Mapping[str, str]  # `role` and `content`
CountTokens = Callable[[Sequence[Message]], int]  # of a prompt, chat template included
RawRow = Mapping[str, Any]


def read_rows(dataset: str, split: str) -> Iterator[RawRow]:
    """The rows of a JSONL or Parquet file, of a folder of such, or of a data set on the hub.

    Raises `RowsUnusable` where there is none, or a line is no JSON object.
    """
    # Files are not read through one schema: one file may have rubrics in several shapes.
    path = Path(dataset)
    if path.suffix in (".jsonl", ".ndjson"):
        return _read_json_lines(path)
    return _read_parquet(path) if path.suffix == ".parquet" else _load_data_set(dataset, split)


def _read_json_lines(path: Path) -> Iterator[RawRow]:
    try:
        with path.open(encoding="utf-8") as lines:
            numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
            for number, line in numbered:
                yield _parse_line(line, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise RowsUnusable(f"{path} cannot be read: {error}") from error


def _parse_line(line: str, place: str) -> RawRow:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RowsUnusable(f"{place}: no JSON: {error}") from error
    if not isinstance(row, dict):
        raise RowsUnusable(f"{place}: a row must be a JSON object")
    return row


def _read_parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow  # noqa: PLC0415 - heavy, and not needed for other rows
    import pyarrow.parquet  # noqa: PLC0415

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for group in file.iter_batches(batch_size=256):
                yield from group.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise RowsUnusable(f"{path} cannot be read: {error}") from error


def _load_data_set(name: str, split: str) -> Iterator[RawRow]:
    import datasets  # noqa: PLC0415 - heavy, and not needed for a file

    try:
        yield from datasets.load_dataset(name, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = ": ".join(str(each) for each in (error, error.__cause__) if each is not None)
        raise RowsUnusable(f"{name} ({split}) cannot be loaded: {reason}") from error


class RefinerPrompt:
    """The policy's prompt; templates get `question`, `tool_output` and `reasoning` (may be "")."""

    def __init__(self, text: str) -> None:
        environment = Environment(
            autoescape=False,  # noqa: S701 - a prompt is no page: the sources must reach it raw
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        try:
            self._template = environment.from_string(text)
        except TemplateError as error:
            raise RowsUnusable(f"the prompt template is no Jinja template: {error}") from error
        self.version = hashlib.sha256(text.encode()).hexdigest()[:12]  # for the model card

    @classmethod
    def load(cls, path: str | None = None) -> Self:
        """The user's template, or Citemark's own. Raises `RowsUnusable` for a bad file."""
        if path is None:
            packaged = resources.files(__package__).joinpath("templates/refiner.j2")
            return cls(packaged.read_text("utf-8"))
        try:
            return cls(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise RowsUnusable(f"the prompt template {path} cannot be read: {error}") from error

    def render(
        self, *, question: str, tool_output: str, reasoning: str = ""
    ) -> tuple[Message, ...]:
        """One user message. Raises `RowsUnusable` where the template needs something else."""
        try:
            text = self._template.render(
                question=question, tool_output=tool_output, reasoning=reasoning
            )
        except TemplateError as error:
            raise RowsUnusable(f"the prompt template cannot be rendered: {error}") from error
        return ({"role": "user", "content": text.strip()},)


@dataclass(frozen=True, slots=True)
class TrainingRow:
    prompt: tuple[Message, ...]
    rollout: str
    """JSON of a `Rollout` with an empty `response`."""
    tokens: int  # of the prompt


@dataclass(slots=True)
class PreparedRows:
    rows: list[TrainingRow] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """Counts by reason."""
    examples: dict[str, str] = field(default_factory=dict)
    """The first row of each reason, in words."""
    prompt_version: str = ""
    static_only: int = 0
    """Kept rows without rubrics of their own."""

    def drop(self, reason: str, example: str) -> None:
        self.dropped[reason] += 1
        self.examples.setdefault(reason, example)


class RowPreparer:
    """Prepares rows of any shape by one set of rules.

    A row has `messages` (or `prompt` as messages), used as they are, or `question`, `tool_output`
    or `snippets`, and perhaps `reasoning`, which the refiner prompt renders. A template of the
    user's own renders every row. `citemark_schemas.envelope` reads the rest. A row cannot override
    `knobs`, which the run fixes.
    """

    def __init__(self, rules: RowRules, *, count: CountTokens, knobs: Knobs) -> None:
        self._rules = rules
        self._count = count
        # The run sets these, so the row's own values are dropped.
        self._fixed = {*knobs.model_fields_set, "id", "run", "step", "finish_reason"}
        self._own_rubrics = bool(knobs.instance_rubrics_only)
        self._names: set[str] = set()
        self._prompt = RefinerPrompt.load(rules.prompt_template)

    def prepare(self, raw: Iterable[RawRow]) -> PreparedRows:
        """The rows that can be trained on, in order. Raises `RowsUnusable` where none is left."""
        prepared = PreparedRows(prompt_version=self._prompt.version)
        self._names.clear()
        for number, row in enumerate(raw):
            self._prepare_row(prepared, row, f"row {number}")
        if not prepared.rows:
            reasons = "; ".join(f"{n} {why}" for why, n in prepared.dropped.most_common())
            dataset = self._rules.dataset
            raise RowsUnusable(f"{dataset} has no row to train on: {reasons or 'empty'}")
        return prepared

    def _prepare_row(self, prepared: PreparedRows, raw: RawRow, place: str) -> None:
        conversation = _read_turns(raw.get("messages")) or _read_turns(raw.get("prompt"))
        try:
            rollout = rollout_of({"row": raw}, response="", prompt=conversation)
        except EnvelopeError as error:
            prepared.drop(NO_ROLLOUT, f"{place}: {error}")
            return
        if self._own_rubrics and not rollout.criteria:
            prepared.drop(NO_RUBRICS, place)
            return
        prompt = conversation
        if prompt is None or self._rules.prompt_template is not None:
            prompt = self._render_prompt(rollout, raw.get("reasoning"))
        tokens, rules = self._count(prompt), self._rules
        if tokens > rules.max_prompt_tokens:
            prepared.drop(PROMPT_TOO_LONG, f"{place}: {tokens} tokens")
        elif tokens + rules.response_tokens > rules.max_tokens:
            prepared.drop(ROW_TOO_LONG, f"{place}: {tokens} tokens")
        else:
            # The row's id, made unique: samples of two rows must not become one group.
            name = (rollout.id or place)[:_NAME_CHARACTERS]
            group = name if name not in self._names else f"{name} ({place})"
            self._names.add(group)
            body = rollout.model_copy(update={"group": group}).model_dump_json(
                exclude_unset=True, exclude=self._fixed
            )
            prepared.rows.append(TrainingRow(prompt, body, tokens))
            prepared.static_only += not rollout.criteria

    def _render_prompt(self, rollout: Rollout, reasoning: object) -> tuple[Message, ...]:
        sources = rollout.tool_output
        if sources is None:
            snippets = rollout.snippets or ()
            sources = "\n".join(f"<snippet id={s.id}>{s.shown}</snippet>" for s in snippets)
        reasoning = reasoning if isinstance(reasoning, str) else ""
        before = (turn.model_dump() for turn in rollout.conversation or ())
        asked = self._prompt.render(
            question=rollout.question, tool_output=sources, reasoning=reasoning
        )
        return (*before, *asked)


def _read_turns(cell: object) -> tuple[Message, ...] | None:
    """The turns of a conversation, else None."""
    turns: Any = cell
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            turns = json.loads(cell)
        except (ValueError, RecursionError):
            return None  # a prompt that is plain text and happens to start with a bracket
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        return None
    if not all(isinstance(turn, Mapping) and isinstance(turn.get("role"), str) for turn in turns):
        return None
    kept = [{"role": turn["role"], "content": said_in(turn)} for turn in turns]
    # Data sets for SFT end with the answer.
    while kept and kept[-1]["role"] == "assistant":
        kept.pop()
    return tuple(kept) or None
