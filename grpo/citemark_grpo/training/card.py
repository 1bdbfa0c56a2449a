"""The model card of a checkpoint: what the model is, how it was trained, what it was paid for."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from citemark_grpo.training.plan import Plan
from citemark_schemas import Knobs, ScoreResult

# A card is published: what names this machine, or may hold a secret, stays out of it.
_PRIVATE: Final = frozenset(
    {"dry_run", "output_dir", "resume", "reward_url", "vllm_server_base_url"}
)
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")  # alone it is no character
_LIBRARIES: Final = ("citemark", "trl", "transformers", "torch")


class ModelCard:
    """Writes `README.md` beside a model.

    Args:
        plan: The run's; its flags are shown.
        prompt_version: Of the refiner's template.
        last_result: The newest result with a reward, for the versions that judged; None if none.
    """

    def __init__(
        self, plan: Plan, prompt_version: str, *, last_result: Callable[[], ScoreResult | None]
    ) -> None:
        flags = {
            each.flag.name: _publish(each.value)
            for each in plan.outcomes
            if each.value is not None and each.flag.name not in _PRIVATE
        }
        libraries = {}
        for library in _LIBRARIES:
            with suppress(PackageNotFoundError):
                libraries[library] = version(library)
        self._facts = {
            "name": plan.service.run,
            "base_model": _publish(plan.policy.path),
            "license": plan.policy.license,
            "setup": {**flags, "prompt": prompt_version, **libraries},
        }
        self._knobs = plan.knobs
        self._last_result = last_result
        environment = Environment(
            loader=PackageLoader("citemark_grpo.training"),
            autoescape=False,  # noqa: S701 - Markdown; each value is quoted by a filter
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters |= {"yaml": to_yaml, "cell": to_cell}
        self._template = environment.get_template("card.md.j2")

    def write(self, folder: Path, *, step: int) -> None:
        """Write the card of the model after `step` optimizer steps; replaces one that is there.

        Raises:
            OSError: the disk is full.
        """
        (folder / "README.md").write_text(self.text(step), encoding="utf-8", errors="replace")

    def text(self, step: int) -> str:
        """The card: YAML front matter and Markdown."""
        result = self._last_result()
        knobs = Knobs.resolve(self._knobs) if result is None else result.knobs
        return self._template.render(
            self._facts,
            step=step,
            knobs=knobs.model_dump(),
            versions={} if result is None else result.versions.model_dump(),
            judge=None if result is None else result.judge.model,
        )


def _publish(value: Any) -> Any:
    """A path on this machine by its last part: elsewhere the rest says nothing."""
    return Path(value).name if isinstance(value, str) and Path(value).exists() else value


def to_yaml(value: object) -> str:
    """A value as one YAML scalar in double quotes, whatever it holds.

    JSON's quoting is YAML's, but for what YAML does not allow in a stream and for characters
    beyond the basic plane, which YAML escapes by one number and JSON by two.
    """
    quoted = json.dumps(str(value), ensure_ascii=False)
    whole = _HALF_PAIR.sub("\ufffd", quoted)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in whole)


def to_cell(value: object) -> str:
    """A value as code in a cell of a Markdown table: one line, no bar, no backtick."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    line = " ".join(text.split()).replace("`", "'").replace("|", "¦")
    return f"`{line or ' '}`"
