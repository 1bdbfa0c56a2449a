"""The model card of a checkpoint: what the model is, how it was trained, what it was paid for."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from citemark_schemas import Knobs, ScoreResult

_TAGS: Final = ("citemark", "grpo", "trl", "reinforcement-learning", "citations", "rubrics")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says that is known before the run."""

    name: str
    base_model: str
    """A hub id; a path on this machine says nothing elsewhere."""
    license: str
    knobs: Knobs
    """What the trainer asks of the reward."""
    setup: Mapping[str, Any]
    """Flags and their values, in the order to show."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Names and versions."""
    tags: Sequence[str] = _TAGS
    pipeline_tag: str = "text-generation"
    library_name: str = "transformers"


class ModelCard:
    """Writes `README.md` beside a model.

    Args:
        facts: What is known before the run.
        last_result: The newest result with a reward, for the versions that judged; None if none.
    """

    def __init__(self, facts: CardFacts, last_result: Callable[[], ScoreResult | None]) -> None:
        self._facts = facts
        self._last_result = last_result
        environment = Environment(
            loader=PackageLoader("citemark_grpo.training.record", "."),
            autoescape=False,  # noqa: S701 - Markdown; each value is quoted by a filter
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters |= {"yaml": yaml_text, "cell": cell}
        self._template = environment.get_template("card.md.j2")

    def __call__(self, folder: Path, *, step: int) -> None:
        """Write the card of the model after `step` optimizer steps; replaces one that is there.

        Raises:
            OSError: the disk is full.
        """
        (folder / "README.md").write_text(self.text(step), encoding="utf-8", errors="replace")

    def text(self, step: int) -> str:
        """The card: YAML front matter and Markdown."""
        result = self._last_result()
        knobs = Knobs.resolve(self._facts.knobs) if result is None else result.knobs
        return self._template.render(
            facts=self._facts,
            step=step,
            knobs=knobs.model_dump(),
            versions={} if result is None else result.versions.model_dump(),
            judge=None if result is None else result.judge.model,
        )


def yaml_text(value: object) -> str:
    """A value as one YAML scalar in double quotes, whatever it holds.

    JSON's quoting is YAML's, but for what YAML does not allow in a stream and for characters
    beyond the basic plane, which YAML escapes by one number and JSON by two.
    """
    quoted = json.dumps(str(value), ensure_ascii=False)
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in quoted)


def _escaped(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:  # half of a pair is no character
        return "\ufffd"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cell(value: object) -> str:
    """A value as code in a cell of a Markdown table: one line, no bar, no backtick."""
    spelt = str(value).lower() if isinstance(value, bool) else str(value)
    line = " ".join(spelt.split()).replace("`", "'").replace("|", "¦")
    return f"`{line or ' '}`"
