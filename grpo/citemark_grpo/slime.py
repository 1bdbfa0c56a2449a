"""Rewards for slime, as a custom reward model. (Its `--rm-type remote_rm` sends only `label`, gives
up after 120 s and cannot leave a sample out.)

    export CITEMARK_URL=http://HOST:8000
    --custom-rm-path citemark_grpo.slime.rm
    --metadata-key metadata                  # or --label-key label
    --reward-key reward                      # optional; keeps the metrics on each sample
    --group-rm                               # optional; a failed sample gets its siblings' mean

In place of the environment, `--rm-url http://HOST:8000` names the service's root.

Rubrics, question and tool output are in the row's `metadata`, else in its `label`; question and
sources may be in the prompt. Where the judge fails, `remove_sample` takes the sample out of the
loss. slime still counts its reward in the group's mean, so it gets a neutral one: with `--group-rm`
the mean of its siblings' rewards, else the running mean of its prompt's. A malformed row raises,
which ends the run.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, Protocol, overload

from citemark_grpo.outcome import reward_of, signals_of
from citemark_grpo.service import connect

Reward = float | dict[str, float]
_FINISH_REASONS = {"completed": "stop", "truncated": "length"}


class SlimeSample(Protocol):
    prompt: Any
    response: str
    label: Any
    metadata: Any
    status: Any
    remove_sample: bool


class SlimeArguments(Protocol):
    reward_key: str | None
    rm_url: str | None


@overload
async def rm(args: SlimeArguments, sample: SlimeSample, **kwargs: Any) -> Reward: ...
@overload
async def rm(
    args: SlimeArguments, sample: Sequence[SlimeSample], **kwargs: Any
) -> list[Reward]: ...
async def rm(
    args: SlimeArguments,
    sample: SlimeSample | Sequence[SlimeSample],
    **kwargs: Any,  # noqa: ARG001  slime passes its own
) -> Reward | list[Reward]:
    """A float, or with `--reward-key` a dict of `reward` and metrics; a list for a list.

    A list's samples are of one prompt. Sets `remove_sample` where the judge failed.
    """
    service = connect(url=args.rm_url)
    samples = sample if isinstance(sample, Sequence) else [sample]
    rollouts = [
        service.to_rollout(
            {"metadata": each.metadata, "label": each.label},
            each.response,
            prompt=each.prompt,
            finish_reason=_FINISH_REASONS.get(getattr(each.status, "value", each.status)),
        )
        for each in samples
    ]
    scores = await service.scores(rollouts)
    valid = [reward for each in scores if (reward := reward_of(each.outcome)) is not None]
    rewards: list[Reward] = []
    for each, score in zip(samples, scores, strict=True):
        failed = reward_of(score.outcome) is None
        if failed:
            each.remove_sample = True
        value = fmean(valid) if failed and valid else score.reward
        signals = signals_of(score.outcome)
        rewards.append(value if args.reward_key is None else {"reward": value, **signals})
    return rewards if isinstance(sample, Sequence) else rewards[0]
