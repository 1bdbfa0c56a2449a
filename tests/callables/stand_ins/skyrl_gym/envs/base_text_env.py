"""What skyrl_gym's module of this name has of environments."""

from typing import Any, TypedDict

ConversationType = list[dict[str, str]]


class BaseTextEnvStepOutput(TypedDict):
    observations: list[dict[str, str]]
    reward: float
    done: bool
    metadata: dict[str, Any]


class BaseTextEnv:
    def __init__(self) -> None:
        self.turns = 0
