"""Rewards for verl (0.5 or newer), as a function.

    export CITEMARK_URL=http://HOST:8000

    # verl 0.7.1 or newer; with pkg:// it needs no file
    reward.custom_reward_function.path=pkg://citemark_grpo.verl
    reward.custom_reward_function.name=compute_score

    # verl 0.6 and 0.7.0
    custom_reward_function.path=pkg://citemark_grpo.verl
    custom_reward_function.name=compute_score

    # verl 0.5 and 0.6 call a function sample by sample in the driver; this one takes a batch
    reward_model.reward_manager=batch
    custom_reward_function.path=pkg://citemark_grpo.verl
    custom_reward_function.name=compute_score_batch

Instead of the environment, the configuration may have settings (see `ClientSettings`):

    +reward.custom_reward_function.reward_kwargs.url=http://HOST:8000
    +reward.custom_reward_function.reward_kwargs.knobs.citation_weight=0.3

The default reward manager, `naive`, and `dapo` are enough: the service and this client bound what
is in flight. `rate_limited` makes an unflagged 0.0 of whatever raises or takes more than 300 s, so
let this function answer first, and raise the manager's own limit of one call at a time:

    reward.reward_manager.name=rate_limited +reward.max_concurrent=256
    +reward.custom_reward_function.reward_kwargs.deadline_s=280

Rubrics, question and tool output are in the row's `extra_info`, or as an object or JSON text in
`reward_model.ground_truth`; verl passes no prompt. It cannot leave a sample out and stops at an
exception, so a failed judge gives the running mean of the same prompt's rewards (as this worker
knows them), else `fallback_reward`, with `judge_failed` 1.0. A malformed row raises.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from citemark_grpo.outcome import Score, signals_of
from citemark_grpo.service import RewardService, connect
from citemark_schemas import Rollout

# verl adds these where it runs a generative reward model.
_VERLS_OWN = frozenset({"reward_router_address", "reward_model_tokenizer"})


async def compute_score(
    data_source: str,  # noqa: ARG001  verl passes it by name
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    **reward_kwargs: Any,
) -> dict[str, float]:
    """One sample's `score` and metrics: the same keys at every call, finite floats.

    `extra_info` wins over `ground_truth`; `reward_kwargs` are fields of `ClientSettings`.
    """
    service = _connect(reward_kwargs)
    (score,) = await service.scores([_to_rollout(service, solution_str, ground_truth, extra_info)])
    return _to_metrics(score)


def compute_score_sync(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    **reward_kwargs: Any,
) -> dict[str, float]:
    """`compute_score` for reward managers that cannot await."""
    rows = ([data_source], [solution_str], [ground_truth], [extra_info])
    return compute_score_batch(*rows, **reward_kwargs)[0]


def compute_score_batch(
    data_sources: Sequence[str],  # noqa: ARG001  verl passes it by name
    solution_strs: Sequence[str],
    ground_truths: Sequence[object],
    extra_infos: Sequence[Mapping[str, Any] | None],
    **reward_kwargs: Any,
) -> list[dict[str, float]]:
    """`compute_score` for the reward manager `batch`: a whole step at once, in order."""
    service = _connect(reward_kwargs)
    rows = zip(solution_strs, ground_truths, extra_infos, strict=True)
    scores = service.scores_sync([_to_rollout(service, *row) for row in rows])
    return [_to_metrics(score) for score in scores]


def _connect(reward_kwargs: Mapping[str, Any]) -> RewardService:
    return connect(**{key: reward_kwargs[key] for key in reward_kwargs.keys() - _VERLS_OWN})


def _to_rollout(
    service: RewardService, response: str, ground_truth: object, extra_info: object
) -> Rollout:
    return service.to_rollout({"extra_info": extra_info, "ground_truth": ground_truth}, response)


def _to_metrics(score: Score) -> dict[str, float]:
    return {"score": score.reward, **signals_of(score.outcome)}
