"""The client's settings: its only module that reads the environment.

Every field is a variable `CITEMARK_<FIELD>`. The service, which may run from the same shell, has
variables of its own under the same prefix; `api_token` is both's.
"""

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from citemark_grpo.errors import SettingsError
from citemark_schemas import Knobs, Rollout
from citemark_schemas.knobs import Finite
from citemark_schemas.rollout import RunName

_PREFIX = "CITEMARK_"


def _decode(value: object) -> object:
    """An object from a variable's JSON, or from a trainer's own mapping type."""
    if isinstance(value, str):
        return json.loads(value)
    return dict(value) if isinstance(value, Mapping) else value


class ClientSettings(BaseModel):
    """Where the service is and how it is asked; frozen, and cheap to send to another process."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: str = Field(min_length=1)
    """The service's root, without `/v1`; may hold the token, as `/t/TOKEN` or `?token=TOKEN`."""
    api_token: SecretStr | None = None
    """Sent as `Authorization: Bearer …`."""
    deadline_s: float = Field(600.0, gt=0, allow_inf_nan=False)
    """For one call with all its retries, so it is also how long an outage of the service is sat
    out. Below the 1800 s after which NCCL gives up the other ranks."""
    run: RunName | None = None
    """`Rollout.run` of every row that names none."""
    knobs: Annotated[Knobs, BeforeValidator(_decode)] = Knobs()
    """Knobs of every row that does not set its own, as JSON: `{"citation_weight": 0.3}`."""
    fallback_reward: Finite = 0.0
    """Stands in for a reward that could not be had, where the trainer cannot leave a sample out
    and no reward of the same prompt is known yet."""

    def fill(self, rollout: Rollout, step: int | None = None) -> Rollout:
        """`rollout` with the run, step and knobs that it leaves open."""
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
    """Read the environment; `overrides` (what the trainer's configuration gave) win.

    Raises:
        SettingsError: no URL is set, an override is unknown, or a value is out of range.
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
            for item in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"settings of the Citemark client: {problems}") from error


def secret(variable: str) -> str | None:
    """The value of an environment variable; None where it is unset or empty."""
    return os.environ.get(variable) or None
