"""The client's settings, each the variable `CITEMARK_<FIELD>`; nothing else reads the environment.

The service has variables of its own under the same prefix; both use `api_token`.
"""

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from citemark_grpo.errors import SettingsError
from citemark_schemas import Knobs, Rollout
from citemark_schemas.cells import split_list
from citemark_schemas.knobs import Finite
from citemark_schemas.rollout import RunName

_PREFIX = "CITEMARK_"


def _decode(value: object) -> object:
    # A variable holds JSON; a trainer's configuration has a mapping type of its own.
    if isinstance(value, str):
        return json.loads(value)
    return dict(value) if isinstance(value, Mapping) else value


class ClientSettings(BaseModel):
    """Frozen, and cheap to send to another process."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: str = Field(min_length=1)
    """The service's root, without `/v1`; may hold the token, as `/t/TOKEN` or `?token=TOKEN`."""
    api_token: SecretStr | None = None
    """Sent as `Authorization: Bearer …`."""
    deadline_s: float = Field(600.0, gt=0, allow_inf_nan=False)
    """For one call with all its retries, so it also bounds the wait for a service that is away.
    Below NCCL's timeout of 1800 s for the other ranks."""
    run: RunName | None = None
    """`Rollout.run` of rows that have none."""
    knobs: Annotated[Knobs, BeforeValidator(_decode)] = Knobs()
    """Knobs of rows that do not set their own, as JSON: `{"citation_weight": 0.3}`."""
    ignored_rubric_keys: Annotated[frozenset[str], BeforeValidator(split_list)] = frozenset()
    """Keys of rubrics that are knowingly not read, as in the service's setting of that name."""
    fallback_reward: Finite = 0.0
    """The reward of a failed sample that the trainer cannot leave out, until one of the same
    prompt is known."""

    def fill(self, rollout: Rollout, step: int | None = None) -> Rollout:
        """A copy of `rollout` with the run, step and knobs that it does not set."""
        update: dict[str, object] = {
            name: getattr(self.knobs, name)
            for name in self.knobs.model_fields_set - rollout.model_fields_set
        }
        if rollout.run is None and self.run is not None:
            update["run"] = self.run
        if rollout.step is None and step is not None:
            update["step"] = step
        return rollout.model_copy(update=update)


def load_settings(**overrides: Any) -> ClientSettings:
    """Settings of the environment and of `overrides`, which win; None there means unset.

    Raises `SettingsError` where no URL is set, an override is unknown or a value out of range.
    """
    given = {
        name: value
        for name in ClientSettings.model_fields
        if (value := secret(_PREFIX + name.upper()))
    }
    values = given | {name: value for name, value in overrides.items() if value is not None}
    if not values.get("url"):
        raise SettingsError(
            "no reward service is set: export CITEMARK_URL=http://HOST:8000 where the trainer "
            "(and each of its workers) starts, or pass url"
        )
    try:
        return ClientSettings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            # The input may be a token.
            for item in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"settings of the Citemark client: {problems}") from error


def trusts_env() -> bool:
    """Whether calls may go through the proxies of `http_proxy` and its like, token included."""
    return os.environ.get("CITEMARK_TRUST_ENV", "").strip().lower() in ("1", "true", "yes", "on")


def secret(variable: str) -> str | None:
    """The value of an environment variable; None if unset or empty."""
    return os.environ.get(variable) or None
