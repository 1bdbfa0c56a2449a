"""Rows of data sets: where a value stands in them, a rollout's envelope, and prompts.

A prompt made here is for data that has none; a trained policy wants the one that it was tuned on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeAlias

from jinja2 import Environment, StrictUndefined, Template, TemplateError
from pydantic_core import to_json

from citemark_schemas import Criterion, Knobs, Rollout
from citemark_service.errors import DataError
from citemark_service.trainers.shapes import Kind, ListOf, Shape

Row: TypeAlias = Mapping[str, Any]
"""One row of a data set, as JSON has it."""
Messages: TypeAlias = Sequence[Mapping[str, Any]]

MESSAGES: Final = ListOf({"role": Kind.TEXT, "content": Kind.TEXT})
"""The column of a prompt as chat messages."""
RUBRICS: Final = ("positive_rubrics", "negative_rubrics", "rubrics")
_RUBRIC: Final[Mapping[str, Shape]] = {
    "title": Kind.TEXT,
    "description": Kind.TEXT,
    "weight": Kind.NUMBER,
}
_KNOBS: Final[Mapping[type, Kind]] = {bool: Kind.FLAG, float: Kind.NUMBER, str: Kind.TEXT}
FIELDS: Final[Mapping[str, Shape]] = {
    "id": Kind.TEXT,
    "group": Kind.TEXT,
    "question": Kind.TEXT,
    "tool_output": Kind.TEXT,
    "snippets": ListOf({"id": Kind.TEXT, "text": Kind.TEXT, "paper_id": Kind.TEXT}),
    "positive_rubrics": ListOf(_RUBRIC),
    "negative_rubrics": ListOf(_RUBRIC),
    "rubrics": ListOf({**_RUBRIC, "polarity": Kind.TEXT}),
    **{name: _KNOBS[type(field.default)] for name, field in Knobs.model_fields.items()},
}
"""The columns of an envelope: all that is known of a rollout before the policy answers."""

_BUILT_IN: Final = "refiner.j2"
_ENVIRONMENT: Final = Environment(
    autoescape=False,  # noqa: S701 - the output is a prompt, not a page
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Task:
    """What a row asks for, in no trainer's layout."""

    rollout: Rollout
    """With an empty response."""
    prompt: Messages
    """What the policy sees."""


def value_at(row: Row, path: str) -> Any:
    """What stands in a row at a dotted path; None where nothing does."""
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def envelope_of(rollout: Rollout) -> dict[str, object]:
    """The given ones of `FIELDS`; rubrics as objects of one shape, as typed files need them."""
    given = rollout.model_dump(include=set(FIELDS), exclude_unset=True, exclude_none=True)
    for name in RUBRICS:
        criteria: tuple[Criterion, ...] = getattr(rollout, name)
        given[name] = [
            {
                "title": each.title,
                "description": each.description,
                "weight": each.weight,
                **({"polarity": each.polarity.value} if name == "rubrics" else {}),
            }
            for each in criteria
        ]
    if "snippets" in given:
        given["snippets"] = [dict(snippet) for snippet in given["snippets"]]
    return {name: given[name] for name in FIELDS if given.get(name) not in (None, [])}


def envelope_text(rollout: Rollout) -> str:
    """`envelope_of` as JSON, which no loader of data sets can reshape."""
    return to_json(envelope_of(rollout)).decode()


def messages_of(value: object) -> Messages | None:
    """A prompt as chat messages, a text as one of the user's; None where there is none."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value.strip() else None
    if not isinstance(value, list | tuple):
        return None
    # Tables fill messages up with empty keys, which chat templates trip over.
    return [
        {key: item for key, item in message.items() if item is not None or key == "content"}
        for message in value
        if isinstance(message, Mapping)
    ] or None


def chat_text(prompt: object) -> str:
    """A prompt as a chat template in ChatML writes it, up to where the policy begins."""
    if isinstance(prompt, str) and prompt.endswith("assistant\n"):
        return prompt
    turns = [
        f"<|im_start|>{message.get('role')}\n{message.get('content')}<|im_end|>\n"
        for message in messages_of(prompt) or ()
    ]
    return "".join([*turns, "<|im_start|>assistant\n"])


class PromptTemplate:
    """Makes a prompt of `question`, `reasoning` and `tool_output`.

    Raises:
        DataError: `file` cannot be read or is no Jinja template.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.replaces = file is not None
        """Whether it is to be used where a row has a prompt, too: somebody chose it."""
        self._name = file.name if file else _BUILT_IN
        source = file or resources.files("citemark_service.trainers") / "prompts" / _BUILT_IN
        try:
            self._template: Template = _ENVIRONMENT.from_string(source.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, TemplateError) as error:
            raise DataError(f"prompt template {self._name}: {error}") from error

    def messages(self, rollout: Rollout, row: Row) -> Messages:
        """One message of the user's; `reasoning` is the row's own column, if it has one.

        Raises:
            ValueError: the template asks for something else, or fails.
        """
        reasoning = row.get("reasoning")
        # The structured sources first, as the service reads them.
        sources = [
            f"<snippet id={each.id}>{each.text}</snippet>" for each in rollout.snippets or ()
        ]
        try:
            text = self._template.render(
                question=rollout.question,
                reasoning=reasoning if isinstance(reasoning, str) else "",
                tool_output="\n".join([*sources, *filter(None, [rollout.tool_output])]),
            )
        except TemplateError as error:
            raise ValueError(f"prompt template {self._name}: {error}") from error
        return [{"role": "user", "content": text.strip()}]
