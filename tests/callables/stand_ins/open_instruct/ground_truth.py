"""What a verifier is a subclass of, takes and returns."""

from dataclasses import dataclass
from typing import Any


@dataclass
class VerifierConfig:
    @classmethod
    def from_args(cls, *args: Any) -> "VerifierConfig":
        return cls()


@dataclass
class VerificationResult:
    score: float
    cost: float = 0.0
    reasoning: str | None = None


class VerifierFunction:
    def __init__(
        self, name: str, weight: float = 1.0, verifier_config: VerifierConfig | None = None
    ) -> None:
        self.name = name
        self.weight = weight
        self.verifier_config = verifier_config

    @classmethod
    def get_config_class(cls) -> type[VerifierConfig]:
        return VerifierConfig
