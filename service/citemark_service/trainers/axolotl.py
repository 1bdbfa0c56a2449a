"""axolotl: NeMo Gym's rows, of whose prompt only the first user message is kept.

Its plugin makes the reward function, with a time limit that can be set. The ready-made one in its
`rewards` module gives up after 30 s, before a slow judge answers, and trains on that as 0. Both
make their URL of host and port, so that it cannot say `?deadline_s=`.
"""

from collections.abc import Iterator
from typing import Any, Final

from citemark_service.trainers.carrying import FIELDS
from citemark_service.trainers.faults import Fault, error, warning
from citemark_service.trainers.nemo_gym import (
    PARAMS,
    faults,
    gym_response,
    gym_reward,
    lay,
    places,
    prompt_of,
)
from citemark_service.trainers.shapes import MESSAGES
from citemark_service.trainers.trainer import Dialect, Post, Row, Trainer

_FIELD: Final = f"{PARAMS}.input"


def _faults(row: Row) -> Iterator[Fault]:
    yield from faults(row)
    prompt = prompt_of(row)
    if isinstance(prompt, str):
        yield error(_FIELD, "is text, which axolotl reads as no prompt", "write one user message")
    elif isinstance(prompt, list) and len(prompt) > 1:
        yield warning(
            _FIELD,
            "has several messages; axolotl trains on the first of the user's alone",
            "put everything into one user message",
        )


def _asked(row: Row) -> str:
    """The one message that becomes the prompt."""
    prompt = prompt_of(row)
    messages = prompt if isinstance(prompt, list) else []
    return next((str(m.get("content")) for m in messages if m.get("role") == "user"), "")


def _posts(row: Row, response: str) -> tuple[Post, ...]:
    kept = {name: value for name, value in row.items() if value is not None}
    asked: dict[str, Any] = {"input": [{"role": "user", "content": _asked(row)}]}
    return (Post("/verify", {**kept, PARAMS: asked, "response": gym_response(response)}),)


AXOLOTL: Final = Trainer(
    name="axolotl",
    title="axolotl",
    carries="keys of the row",
    flags="nemo_gym_datasets, axolotl.integrations.nemo_gym.NemoGymPlugin, "
    "nemo_gym_verify_timeout: 60",
    places=places,
    prompt=prompt_of,
    lay=lay,
    faults=_faults,
    columns={PARAMS: {"input": MESSAGES}, **FIELDS},
    suffixes=(".jsonl",),
    dialect=Dialect(_posts, gym_reward),
)
