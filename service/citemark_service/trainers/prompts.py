"""A row's prompt: as chat messages, as a chat template would write it, or made of its parts.

A prompt made here is for data that has none; a trained policy wants the one that it was tuned on.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, Template, TemplateError

from citemark_schemas import Rollout
from citemark_service.errors import DataError
from citemark_service.trainers.trainer import Messages

_BUILT_IN: Final = "refiner.j2"
_ENVIRONMENT: Final = Environment(
    autoescape=False,  # noqa: S701 - the output is a prompt, not a page
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def messages_of(value: object) -> Messages | None:
    """A prompt as chat messages, a text as one of the user's; None where there is none."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value.strip() else None
    if not isinstance(value, list | tuple) or not value:
        return None
    return [_filled(message) for message in value if isinstance(message, Mapping)] or None


def _filled(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message without the empty keys that a table gives it, which chat templates trip over."""
    return {key: item for key, item in message.items() if item is not None or key == "content"}


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
        try:
            self._template: Template = _ENVIRONMENT.from_string(_text(file))
        except (OSError, UnicodeDecodeError, TemplateError) as error:
            raise DataError(f"prompt template {self._name}: {error}") from error

    def messages(self, rollout: Rollout, row: Mapping[str, Any]) -> Messages:
        """One message of the user's; `reasoning` is the row's own column, if it has one.

        Raises:
            ValueError: the template asks for something else, or fails.
        """
        reasoning = row.get("reasoning")
        try:
            text = self._template.render(
                question=rollout.question,
                reasoning=reasoning if isinstance(reasoning, str) else "",
                tool_output=_tool_output(rollout),
            )
        except TemplateError as error:
            raise ValueError(f"prompt template {self._name}: {error}") from error
        return [{"role": "user", "content": text.strip()}]


def _text(file: Path | None) -> str:
    if file is not None:
        return file.read_text("utf-8")
    folder = resources.files("citemark_service.trainers") / "prompts"
    return (folder / _BUILT_IN).read_text("utf-8")


def _tool_output(rollout: Rollout) -> str:
    """The sources as the policy sees them: the structured ones first, as the service reads them."""
    given = [f"<snippet id={each.id}>{each.text}</snippet>" for each in rollout.snippets or ()]
    return "\n".join([*given, *filter(None, [rollout.tool_output])])
