"""Citemark's own rows: a rollout without its response, and its prompt as messages."""

from typing import Final

from citemark_service.trainers.rows import FIELDS, MESSAGES
from citemark_service.trainers.trainer import Trainer

CITEMARK: Final = Trainer(
    name="citemark",
    title="Citemark",
    carries="fields of the row",
    flags="a rollout for /v1/score, once it has a response",
    columns={**FIELDS, "messages": MESSAGES},
    prompt_at=("messages",),
    rest="row",
)
