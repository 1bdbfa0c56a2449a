"""slime: `POST /rm`, one sample a request. Pure.

The whole answer becomes the sample's reward: an object, of which `--reward-key reward` is used,
or a bare number with `?format=scalar`. The client can neither mask nor read a null.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from citemark_schemas import metrics_of
from citemark_service.web.dialects.dialect import Asked, Dialect, Outcome, Sample, text
from citemark_service.web.dialects.examples import (
    ENVELOPE_TEXT,
    QUESTION,
    RESPONSE,
    REWARD,
    SIGNALS_SHOWN,
)


def _read(body: Mapping[str, Any]) -> list[Sample]:
    places = {name: body.get(name) for name in ("label", "metadata")}
    return [Sample(places, text(body, "response"), body.get("prompt"))]


def _write(outcomes: Sequence[Outcome], asked: Asked) -> Any:
    (outcome,) = outcomes
    if asked.options.format == "scalar":
        return outcome.reward
    return {"reward": outcome.reward, **metrics_of(outcome.result), "outcome": outcome.told}


SLIME: Final = Dialect(
    name="slime",
    path="/rm",
    client="slime",
    read=_read,
    write=_write,
    deadline_s=100.0,  # the client gives up after 120 s, its wait for a connection included
    forms=frozenset({"object", "scalar"}),
    request={"prompt": QUESTION, "response": RESPONSE, "label": ENVELOPE_TEXT},
    answer={"reward": REWARD, **SIGNALS_SHOWN, "outcome": "judged"},
    doc="`--rm-type remote_rm --rm-url http://HOST:8000/rm --reward-key reward --label-key label`, "
    "where the label is the row's envelope as an object or a JSON string; "
    "`--log-reward-category outcome` draws what became of the samples. With `?format=scalar` the "
    "answer is a bare number, and no reward key is given.",
)
"""See the module's docstring."""
