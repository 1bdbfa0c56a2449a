"""Citemark as a judge plugin of verifiers v1, which finds plugins by a package's own name.

    [[….taskset.task.judges]]
    id = "citemark-judge"
    base_url = "http://HOST:8000"           # else CITEMARK_URL
    weight = 1.0

What it reads and what it does when the judge fails: see `citemark_grpo.verifiers`. Importing this
package needs verifiers, which nothing else here does.
"""

from collections.abc import Mapping
from typing import Any

import verifiers.v1 as vf

from citemark_grpo.errors import SettingsError
from citemark_grpo.settings import secret
from citemark_grpo.verifiers import Trace, score_trace

__all__ = ["CitemarkJudge"]


class CitemarkJudgeConfig(vf.JudgeConfig):  # type: ignore[misc]  # not installed with mypy
    """Where the reward service is; what verifiers' judges say of a model does not apply."""

    id: str = "citemark-judge"
    base_url: str = ""
    """The service's root; CITEMARK_URL where empty."""
    api_key_var: str = "CITEMARK_API_TOKEN"
    """Names the variable that holds the service's token. Not the default of other judges: a key
    for a model provider is none of the reward service's business."""
    deadline_s: float | None = None
    """As in `citemark_grpo.settings`."""
    run: str | None = None
    """As in `citemark_grpo.settings`."""
    knobs: dict[str, Any] | None = None
    """As in `citemark_grpo.settings`."""


class CitemarkJudge(vf.Judge[float, CitemarkJudgeConfig]):  # type: ignore[misc]  # as above
    """Scores a trace with the reward service; raises where nobody judged it."""

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
