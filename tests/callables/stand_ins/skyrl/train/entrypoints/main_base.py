"""SkyRL's module of this name, whose experiment plays one episode and prints what came of it."""

import importlib
import json
import sys

import skyrl_gym


class SkyRLTrainConfig:
    def __init__(self, flags: list[str]) -> None:
        self.flags = flags

    @classmethod
    def from_cli_overrides(cls, flags: list[str]) -> "SkyRLTrainConfig":
        """Refuses what the real one does not know either."""
        if any(flag.startswith("trainer.override_entrypoint=") for flag in flags):
            raise ValueError("trainer.override_entrypoint is no field")
        return cls(flags)


def validate_cfg(config: SkyRLTrainConfig) -> None:
    """Nothing to check."""


def initialize_ray(config: SkyRLTrainConfig) -> None:
    """Nothing to start."""


class BasePPOExp:
    def __init__(self, config: SkyRLTrainConfig) -> None:
        self.config = config

    def run(self) -> None:
        """Make the environment that the first flag names, as SkyRL's registry does."""
        entry_point, kwargs = skyrl_gym.registered[self.config.flags[0].partition("=")[2]]
        module, _, name = entry_point.partition(":")
        row = json.loads(self.config.flags[1])
        env = getattr(importlib.import_module(module), name)(env_config={}, extras=row, **kwargs)
        before = env.get_metrics()
        env.init([{"role": "user", "content": "…"}])
        step = env.step(row["action"])
        played = {"step": step, "before": before, "metrics": env.get_metrics()}
        sys.stdout.write(json.dumps(played) + "\n")
