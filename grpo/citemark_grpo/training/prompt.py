"""The refiner's prompt: a Jinja file of this package, or one of the user's."""

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Self

from jinja2 import Environment, StrictUndefined, TemplateError

from citemark_grpo.training.errors import RowsUnusable

Message = Mapping[str, str]
"""One turn of a conversation: `role` and `content`."""


class RefinerPrompt:
    """Renders question, reasoning and raw tool output into what the policy is asked.

    The template gets `question`, `tool_output` and `reasoning` ("" where a row has none).
    """

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
        self.version = hashlib.sha256(text.encode()).hexdigest()[:12]
        """Short hash of the template, for the model card."""

    @classmethod
    def load(cls, path: str | None = None) -> Self:
        """The user's own file, or the prompt that comes with Citemark.

        Raises:
            RowsUnusable: the file cannot be read, or is no Jinja template.
        """
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
        """One user message. Raises `RowsUnusable` where the template asks for something else."""
        try:
            text = self._template.render(
                question=question, tool_output=tool_output, reasoning=reasoning
            )
        except TemplateError as error:
            raise RowsUnusable(f"the prompt template cannot be rendered: {error}") from error
        return ({"role": "user", "content": text.strip()},)
