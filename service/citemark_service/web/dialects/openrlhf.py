"""OpenRLHF: `POST /get_reward`, all versions with a remote reward URL. Pure.

Newer versions post each sample in a list of one as it finishes, older ones a whole batch, and
with several URLs some get empty lists. The response is sent only behind its prompt, so it is cut
out of the two. The client can neither mask nor read a null, takes floats only, and needs every
key of `extra_logs` on every sample.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from citemark_schemas import SIGNALS, continuation, metrics_of
from citemark_service.web.dialects.dialect import Asked, Dialect, Outcome, Sample, misshapen, texts
from citemark_service.web.dialects.examples import ENVELOPE_TEXT, RESPONSE, REWARD, SIGNALS_SHOWN


def _read(body: Mapping[str, Any]) -> list[Sample]:
    queries = texts(body, "query")
    prompts = texts(body, "prompts") if queries else []
    labels = body.get("labels") or [None] * len(queries)
    if not isinstance(labels, list):
        labels = [labels]
    for name, found in (("prompts", prompts), ("labels", labels)):
        if len(found) != len(queries):
            raise misshapen(name, f"has {len(found)} items, and query {len(queries)}")
    rows = zip(queries, prompts, labels, strict=True)
    return [_sample(position, *row) for position, row in enumerate(rows)]


def _sample(position: int, query: str, prompt: str, label: object) -> Sample:
    response = continuation(query, prompt)
    if response is None:
        raise misshapen(
            f"query[{position}]",
            f"does not begin with prompts[{position}], so that nobody can say what is response",
        )
    return Sample({f"labels[{position}]": label}, response, prompt)


def _write(outcomes: Sequence[Outcome], _: Asked) -> dict[str, Any]:
    rewards = [outcome.reward for outcome in outcomes]
    measured = [metrics_of(outcome.result) for outcome in outcomes]
    logs = {name: [metrics[name] for metrics in measured] for name in SIGNALS}
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}


_PROMPT: Final = "<|im_start|>user\nHow long does the crossing take?<|im_end|>\n"
_TURN: Final = _PROMPT + "<|im_start|>assistant\n"

OPENRLHF: Final = Dialect(
    name="openrlhf",
    path="/get_reward",
    client="OpenRLHF",
    read=_read,
    write=_write,
    deadline_s=165.0,  # the client gives up after 180 s
    request={
        "query": [f"{_TURN}{RESPONSE}<|im_end|>"],
        "prompts": [_TURN],
        "labels": [ENVELOPE_TEXT],
    },
    answer={
        "rewards": [REWARD],
        "scores": [REWARD],
        "extra_logs": {name: [value] for name, value in SIGNALS_SHOWN.items()},
    },
    doc="`--reward.remote_url http://HOST:8000/get_reward --data.label_key label`, where the "
    "label is the row's envelope as an object or a JSON string.",
)
"""See the module's docstring."""
