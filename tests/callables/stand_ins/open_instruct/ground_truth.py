"""Verifiers, and how they are found."""

from dataclasses import dataclass
from typing import Any


@dataclass
class VerifierConfig:
    """Where `from_args` takes what a verifier needs from the script's arguments."""

    @classmethod
    def from_args(cls, *args: Any) -> "VerifierConfig":
        """A configuration without fields."""
        return cls()


@dataclass
class VerificationResult:
    """What a verifier returns."""

    score: float
    cost: float = 0.0
    reasoning: str | None = None


class VerifierFunction:
    """What verifiers are subclasses of, and found as."""

    def __init__(
        self, name: str, weight: float = 1.0, verifier_config: VerifierConfig | None = None
    ) -> None:
        self.name = name
        self.weight = weight
        self.verifier_config = verifier_config

    @classmethod
    def get_config_class(cls) -> type[VerifierConfig]:
        """What the constructor is given an instance of."""
        return VerifierConfig
