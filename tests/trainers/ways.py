"""The ways of trainers to their rewards, see `drivers`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """A way of a trainer to its rewards, and what is particular of it."""

    driver: str
    way: str = ""
    few: int = 256
    """How many rollouts of the step it is given."""
    cuts: int = 5
    judge_s: float = 0.6
    shown: int = 12
    """How many rollouts a judge is shown before it dies: no more than come while it keeps four of
    each eight waiting, and those that share a request with them."""
    rounding: float = 0.0
    """How far single precision may move a reward."""
    residue: float = 1e-6
    """The same for an advantage of 0."""
    only_signals: bool = False

    def __str__(self) -> str:
        return f"{self.driver} {self.way}".strip()


AXOLOTL = Way("axolotl", few=32, cuts=3, judge_s=0.2, shown=5)
"""It asks for one after the other."""
TRL = Way("trl", shown=64, rounding=1e-6)
"""It asks for all at once."""
EVAL_PROTOCOL = Way("eval_protocol", shown=64)
"""It has 64 threads."""
VERL = Way("verl", "naive", rounding=1e-6, residue=1e-3, only_signals=True)
# Quick and few, because the file form has OpenRLHF's threads: four more than there are cores.
OPENRLHF = [
    Way("openrlhf", way, few=few, judge_s=0.2, shown=5, rounding=1e-6)
    for way, few in (("url", 256), ("file", 64))
]
# Verifiers' client waits for 60 s, so that the service answers both within 50 s.
NEMO_GYM = [Way("nemo_gym", way, few=64) for way in ("service", "scaffold")]
SKYRL = Way("skyrl", only_signals=True)
VERIFIERS = [
    *(Way("verifiers", way) for way in ("reward", "judge")),
    Way("verifiers", "gym", few=64),
]
