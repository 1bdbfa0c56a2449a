"""Rewards for SkyRL, as an environment of one turn.

    export CITEMARK_URL=http://HOST:8000
    python -m citemark_grpo.skyrl environment.env_class=citemark generator.batched=false \\
        environment.skyrl_gym.max_env_workers=256 …

or, with skyrl 0.3 and newer, `trainer.override_entrypoint=citemark_grpo.skyrl` among the flags of
`python -m skyrl.train.entrypoints.main_base …`. With `generator.batched=true` SkyRL would ask for
one reward after the other.

Rubrics, question and tool output are columns of the row, or in its `reward_spec`, `reward_model` or
`extra_info`; question and sources may be in the prompt. SkyRL cannot leave a sample out and
stops at an exception, so a failed judge gives the running mean of the same prompt's rewards, else
`fallback_reward`, with the metric `judge_failed` 1.0. A malformed row raises.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

import skyrl_gym
from skyrl_gym.envs.base_text_env import (
    BaseTextEnv,
    BaseTextEnvStepOutput,
    ConversationType,
)

from citemark_grpo.outcome import signals_of
from citemark_grpo.service import RewardService, connect
from citemark_grpo.settings import ClientSettings, load_settings
from citemark_grpo.source import source_of
from citemark_schemas import SIGNALS

ENVIRONMENT: Final = "citemark"  # the value of `environment.env_class`


class RubricEnv(BaseTextEnv):  # type: ignore[misc]  # SkyRL is not installed with mypy
    """One question, one answer, one reward; `extras` are the row's columns."""

    def __init__(
        self,
        env_config: object = None,  # noqa: ARG002  SkyRL passes it by name
        extras: Mapping[str, Any] | None = None,
        settings: ClientSettings | None = None,
    ) -> None:
        super().__init__()
        self._row = dict(extras or {})
        self._prompt: ConversationType = []
        self._signals = dict.fromkeys(SIGNALS, 0.0)
        self._settings = settings

    def init(self, prompt: ConversationType) -> tuple[ConversationType, dict[str, Any]]:
        self._prompt = prompt
        return prompt, {}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        given = self._settings
        service = connect() if given is None else RewardService(given, source_of(given))
        places = {"extras": self._row, "reward_spec": self._row.get("reward_spec")}
        rollout = service.to_rollout(places, action, prompt=self._prompt)
        (score,) = service.scores_sync([rollout])
        self._signals = signals_of(score.outcome)
        return BaseTextEnvStepOutput(
            observations=[], reward=score.reward, done=True, metadata=dict(self._signals)
        )

    def get_metrics(self) -> dict[str, Any]:
        """The same keys for every episode; zeros before the policy answered."""
        return dict(self._signals)


def train(config: object, settings: ClientSettings) -> None:
    """A whole run, in the Ray task that makes the environments."""
    # Workers that only make environments do not need it.
    from skyrl.train.entrypoints.main_base import BasePPOExp  # noqa: PLC0415

    skyrl_gym.register(
        id=ENVIRONMENT,
        entry_point="citemark_grpo.skyrl:RubricEnv",
        kwargs={"settings": settings},
    )
    BasePPOExp(config).run()


def main() -> None:
    """SkyRL's own entry point, with the environment registered."""
    import ray  # noqa: PLC0415  comes with SkyRL's trainer, which `RubricEnv` alone does not need
    from skyrl.train.entrypoints import main_base  # noqa: PLC0415  as does this

    # Ray's workers have the environment of their node, so the settings are sent to them. A wrong
    # one raises before Ray starts.
    settings = load_settings()
    # SkyRL reads this argument by itself and does not parse it with the others.
    given = [each for each in sys.argv[1:] if not each.startswith("trainer.override_entrypoint=")]
    config = main_base.SkyRLTrainConfig.from_cli_overrides(given)
    main_base.validate_cfg(config)
    main_base.initialize_ray(config)
    ray.get(ray.remote(num_cpus=1)(train).remote(config, settings))


if __name__ == "__main__":
    main()
