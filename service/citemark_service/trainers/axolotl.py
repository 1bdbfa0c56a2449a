"""axolotl: NeMo Gym's rows, of whose prompt it keeps only the first user message.

The timeout of its plugin's reward function can be set. The function in its `rewards` module times
out after 30 s, before a slow judge answers, and trains on 0 then. Both build the URL from host and
port, so it cannot contain `?deadline_s=`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from citemark_service.trainers.faults import Fault, error, warning
from citemark_service.trainers.nemo_gym import NEMO_GYM, PARAMS, read_reward, response_of
from citemark_service.trainers.route import Body
from citemark_service.trainers.rows import Row

_FIELD: Final = f"{PARAMS}.input"


def find_faults(row: Row) -> Iterator[Fault]:
    yield from NEMO_GYM.faults(row)
    prompt = NEMO_GYM.prompt(row)
    if isinstance(prompt, str):
        yield error(_FIELD, "is text, which axolotl reads as no prompt", "write one user message")
    elif isinstance(prompt, list) and len(prompt) > 1:
        yield warning(
            _FIELD,
            "has several messages; axolotl trains on the first of the user's alone",
            "put everything into one user message",
        )


def make_posts(row: Row, response: str) -> Mapping[str, Body]:
    prompt = NEMO_GYM.prompt(row)
    messages = prompt if isinstance(prompt, list) else []
    question = next((str(m.get("content")) for m in messages if m.get("role") == "user"), "")
    body = {name: value for name, value in row.items() if value is not None}
    body[PARAMS] = {"input": [{"role": "user", "content": question}]}
    return {"/verify": {**body, "response": response_of(response)}}


AXOLOTL: Final = replace(
    NEMO_GYM,
    name="axolotl",
    title="axolotl",
    flags="nemo_gym_datasets, axolotl.integrations.nemo_gym.NemoGymPlugin, "
    "nemo_gym_verify_timeout: 60",
    one_type=True,
    faults=find_faults,
    routes=(),
    posts=make_posts,
    reward=read_reward,
)
