"""Some rollouts of a step with their verdicts: JSON lines for programs, a page for people.

The policy's text is hostile. The page holds no script, forbids any by its own policy, and escapes
all that it shows; control characters are made visible and directions cannot leak between texts.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from citemark_grpo.training.record.judged import JudgedRollout
from citemark_grpo.training.survival.storage import Outlived

_log: Final = logging.getLogger(__name__)
_SHOWN_CHARACTERS: Final = 20_000
_PICTURES: Final = 0x2400  # where Unicode has pictures of the control characters
_VISIBLE: Final = {code: _PICTURES + code for code in range(32) if chr(code) not in "\n\t"}


def picked(rollouts: Sequence[JudgedRollout], count: int) -> list[JudgedRollout]:
    """At most `count` rollouts from the failed and worst to the best, evenly spaced."""
    ranked = sorted(rollouts, key=_rank)
    if len(ranked) <= count:
        return ranked
    if count < 2:
        return ranked[-1:] if count else []
    return [ranked[place * (len(ranked) - 1) // (count - 1)] for place in range(count)]


def _rank(rollout: JudgedRollout) -> tuple[bool, float]:
    reward = rollout.unscaled
    return reward is not None, reward or 0.0


def record(rollout: JudgedRollout, step: int) -> dict[str, Any]:
    """A rollout as it stands in the JSON lines."""
    result = rollout.result
    return {
        "step": step,
        "question": rollout.question,
        "response": rollout.response,
        "finish_reason": rollout.finish_reason,
        "reward": rollout.unscaled,
        "result": None if result is None else result.model_dump(mode="json"),
    }


class SamplePages:
    """Writes `step-000120.jsonl` and `step-000120.html` into a folder."""

    def __init__(self, folder: Path, *, count: int = 8) -> None:
        self._folder = folder
        self._count = count
        environment = Environment(
            loader=PackageLoader("citemark_grpo.training.record", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["shown"] = shown
        self._page = environment.get_template("samples.html.j2")

    def write(self, rollouts: Sequence[JudgedRollout], step: int) -> None:
        """Write a step's samples; on a full disk they are left out."""
        chosen = picked(rollouts, self._count)
        records = (json.dumps(record(rollout, step)) for rollout in chosen)
        with Outlived("sampled rollouts", _log):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._put(f"step-{step:06d}.jsonl", "".join(f"{line}\n" for line in records))
            self._put(f"step-{step:06d}.html", self._page.render(step=step, rollouts=chosen))

    def _put(self, name: str, text: str) -> None:
        unfinished = self._folder / f".{name}"
        try:
            unfinished.write_bytes(text.encode(errors="backslashreplace"))
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.replace(self._folder / name)


def shown(text: str) -> str:
    """Text for the page: bounded, with control characters as pictures."""
    cut = text[:_SHOWN_CHARACTERS]
    rest = len(text) - len(cut)
    return cut.translate(_VISIBLE) + (f"… ({rest} more characters)" if rest else "")
