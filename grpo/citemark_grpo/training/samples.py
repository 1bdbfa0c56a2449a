"""Judged rollouts of a step, and a few of them with their verdicts as JSON lines and as a page.

The policy's text is hostile. The page holds no script, forbids any by its own policy, and escapes
all that it shows; control characters are made visible and directions cannot leak between texts.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from citemark_grpo.training.disk import outlive_full_disk
from citemark_schemas import ScoreResult

_log: Final = logging.getLogger(__name__)
_MOST_CHARACTERS: Final = 20_000
_PICTURES: Final = 0x2400  # where Unicode has pictures of the control characters
_VISIBLE: Final = {code: _PICTURES + code for code in range(32) if chr(code) not in "\n\t"}


@dataclass(frozen=True, slots=True)
class JudgedRollout:
    """A rollout without its sources, and its result; all processes send theirs to the first."""

    question: str
    response: str
    finish_reason: str | None
    result: ScoreResult | None
    """None where the service gave none."""

    @property
    def unscaled(self) -> float | None:
        """The reward before `verification_reward`; None where there is none.

        The reward of a refusal, 0 or a penalty, is not scaled and stands as it is.
        """
        result = self.result
        if result is None or result.reward is None:
            return None
        return result.reward / (1.0 if result.refusal else result.knobs.verification_reward)


def pick_samples(rollouts: Sequence[JudgedRollout], count: int) -> list[JudgedRollout]:
    """At most `count` rollouts from the failed and worst to the best, evenly spaced."""
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
        environment = Environment(
            loader=PackageLoader("citemark_grpo.training"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["shown"] = _to_visible
        self._page = environment.get_template("samples.html.j2")

    def write(self, rollouts: Sequence[JudgedRollout], step: int) -> None:
        """Write a step's samples; on a full disk they are left out."""
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
        unfinished = self._folder / f".{name}"
        try:
            unfinished.write_bytes(text.encode(errors="backslashreplace"))
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.replace(self._folder / name)


def _to_visible(text: str) -> str:
    """Text for the page: bounded, with control characters as pictures."""
    cut = text[:_MOST_CHARACTERS]
    rest = len(text) - len(cut)
    return cut.translate(_VISIBLE) + (f"… ({rest} more characters)" if rest else "")
