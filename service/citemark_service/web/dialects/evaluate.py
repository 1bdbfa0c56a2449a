"""`POST /evaluate` and `/reward`: CaRR's body has a `history`, eval-protocol's `messages`. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from citemark_service.web.dialects import carr, eval_protocol
from citemark_service.web.dialects.dialect import Asked, Dialect, Outcome, Sample, misshapen


def _read(body: Mapping[str, Any]) -> list[Sample]:
    if "history" in body:
        return carr.read(body)
    if "messages" in body:
        return eval_protocol.read(body)
    raise misshapen(
        "body", "has neither history, as from CaRR, nor messages, as from eval-protocol"
    )


def _write(outcomes: Sequence[Outcome], asked: Asked) -> dict[str, Any]:
    (outcome,) = outcomes
    write = carr.write if "history" in asked.body else eval_protocol.write
    return write(outcome, asked.body)


EVALUATE: Final = Dialect(
    name="evaluate",
    path="/evaluate",
    client="CaRR and eval-protocol",
    read=_read,
    write=_write,
    deadline_s=100.0,  # CaRR's client gives up after 120 s, eval-protocol's never
    request=eval_protocol.REQUEST,
    answer=eval_protocol.ANSWER,
    doc="CaRR: `remote_url` in `source_config.json`; rubrics in `remote_env_info` or in `label` "
    'as JSON. eval-protocol: `RewardFunction(mode="remote", endpoint=…)`; the row\'s envelope '
    "as `ground_truth` or as keywords.",
)
"""See the module's docstring."""

REWARD_ALIAS: Final = replace(EVALUATE, name="reward", path="/reward")
"""eval-protocol's own server answers here."""
