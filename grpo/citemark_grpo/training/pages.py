"""Pages of sampled rollouts, and a checkpoint's model card.

The policy's text is hostile. A page has no script and forbids any by its Content-Security-Policy,
escapes all text, shows control characters as pictures and isolates text directions.
"""

import json
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from citemark_grpo.training.disk import outlive_full_disk
from citemark_grpo.training.plan import Plan
from citemark_grpo.training.reward import JudgedRollout
from citemark_schemas import Knobs, ScoreResult

_log: Final = logging.getLogger(__name__)
_MOST_CHARACTERS: Final = 20_000
_PICTURES: Final = 0x2400  # where Unicode has pictures of the control characters
_VISIBLE: Final = {code: _PICTURES + code for code in range(32) if chr(code) not in "\n\t"}
# A card is published: what names this machine, or may hold a secret, stays out of it.
_PRIVATE: Final = frozenset(
    {"dry_run", "output_dir", "resume", "reward_url", "vllm_server_base_url"}
)
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")  # alone it is no character
_LIBRARIES: Final = ("citemark", "trl", "transformers", "torch")


def pick_samples(rollouts: Sequence[JudgedRollout], count: int) -> list[JudgedRollout]:
    """At most `count` rollouts, evenly spaced from the failed and worst to the best."""
    ranked = sorted(rollouts, key=lambda each: (each.unscaled is not None, each.unscaled or 0.0))
    if len(ranked) <= count:
        return ranked
    if count < 2:
        return ranked[-1:] if count else []
    return [ranked[place * (len(ranked) - 1) // (count - 1)] for place in range(count)]


class SamplePages:
    """Writes `step-000120.jsonl` and `step-000120.html` into a folder."""

    def __init__(self, folder: Path, *, count: int = 8) -> None:
        self._folder = folder
        self._count = count
        environment = _build_environment(autoescape=True)
        environment.filters["shown"] = _to_visible
        self._page = environment.get_template("samples.html.j2")

    def write(self, rollouts: Sequence[JudgedRollout], step: int) -> None:
        """Write a step's samples; skipped on a full disk."""
        chosen = pick_samples(rollouts, self._count)
        records = [
            {
                "step": step,
                "question": each.question,
                "response": each.response,
                "finish_reason": each.finish_reason,
                "reward": each.unscaled,
                "result": each.result and each.result.model_dump(mode="json"),
            }
            for each in chosen
        ]
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        with outlive_full_disk("sampled rollouts", _log):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._replace(f"step-{step:06d}.jsonl", lines)
            self._replace(f"step-{step:06d}.html", self._page.render(step=step, rollouts=chosen))

    def _replace(self, name: str, text: str) -> None:
        # A page under its own name is always complete.
        unfinished = self._folder / f".{name}"
        try:
            # Lone surrogates in the policy's text have no UTF-8.
            unfinished.write_bytes(text.encode(errors="backslashreplace"))
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.replace(self._folder / name)


def _to_visible(text: str) -> str:
    cut = text[:_MOST_CHARACTERS]
    rest = len(text) - len(cut)
    return cut.translate(_VISIBLE) + (f"… ({rest} more characters)" if rest else "")


class ModelCard:
    """Writes `README.md` beside a model.

    `last_result` returns the newest result with a reward, whose versions the card names.
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
        environment = _build_environment(autoescape=False)
        environment.filters |= {"yaml": to_yaml, "cell": to_cell}
        self._template = environment.get_template("card.md.j2")

    def write(self, folder: Path, *, step: int) -> None:
        """Write the card, replacing an older one. `step` counts optimizer steps."""
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
    """The value; of a path on this machine its last part only."""
    return Path(value).name if isinstance(value, str) and Path(value).exists() else value


def to_yaml(value: object) -> str:
    """A value as one YAML scalar in double quotes."""
    # JSON's quoting is YAML's, but for characters that YAML forbids in a stream and those beyond
    # the basic plane, which YAML escapes as one number and JSON as two.
    quoted = json.dumps(str(value), ensure_ascii=False)
    whole = _HALF_PAIR.sub("\ufffd", quoted)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in whole)


def to_cell(value: object) -> str:
    """A value as code in a cell of a Markdown table."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    line = " ".join(text.split()).replace("`", "'").replace("|", "¦")
    return f"`{line or ' '}`"


def _build_environment(*, autoescape: bool) -> Environment:
    return Environment(
        loader=PackageLoader("citemark_grpo.training"),
        autoescape=autoescape,  # noqa: S701 - the card is Markdown: a filter quotes each value
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
