"""Citemark as a judge plugin of verifiers v1, which finds plugins by a package's own name.

    [[….taskset.task.judges]]
    id = "citemark-judge"
    base_url = "http://HOST:8000"           # else CITEMARK_URL
    weight = 1.0

For the row's fields and a judge that fails see `citemark_grpo.verifiers`.
"""

from collections.abc import Mapping
from typing import Any

import verifiers.v1 as vf

from citemark_grpo.errors import SettingsError
from citemark_grpo.settings import secret
from citemark_grpo.verifiers import Trace, score_trace

__all__ = ["CitemarkJudge"]


class CitemarkJudgeConfig(vf.JudgeConfig):  # type: ignore[misc]  # not installed with mypy
    """Its fields for a judge model do not apply here."""

    id: str = "citemark-judge"
    base_url: str = ""
    """The service's root; CITEMARK_URL where empty."""
    api_key_var: str = "CITEMARK_API_TOKEN"
    """The variable of the service's token. Other judges' default would send a model provider's key
    to the reward service."""
    # As in `ClientSettings`.
    deadline_s: float | None = None
    run: str | None = None
    knobs: dict[str, Any] | None = None


class CitemarkJudge(vf.Judge[float, CitemarkJudgeConfig]):  # type: ignore[misc]  # as above
    def __init__(self, config: CitemarkJudgeConfig | None = None) -> None:
        super().__init__(config)
        if self.config.headers or self.config.headers_from_env:
            raise SettingsError("citemark-judge sends no headers but the token's (api_key_var)")

    async def score(self, task: vf.TaskData, trace: Trace) -> float | Mapping[str, float]:
        """The trace's reward; see `citemark_grpo.verifiers.reward`."""
        config = self.config
        return await score_trace(
            task,
            trace,
            url=config.base_url or None,
            api_token=secret(config.api_key_var),
            deadline_s=config.deadline_s,
            run=config.run,
            knobs=config.knobs,
        )
