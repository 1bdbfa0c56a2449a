"""One rollout and its reward, as all documentation shows them."""

import json
from importlib import resources
from typing import Any, Final

from citemark_schemas import ScoreResult


def example(name: str) -> Any:
    """A worked example that ships with the package: `rollout` or `result`."""
    path = resources.files("citemark_service.examples") / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


_ROLLOUT: Final[dict[str, Any]] = example("rollout")
RESULT: Final = ScoreResult.model_validate_json(json.dumps(example("result")))

QUESTION: Final[str] = _ROLLOUT["question"]
RESPONSE: Final[str] = _ROLLOUT["response"]
ENVELOPE: Final[dict[str, Any]] = {
    name: value for name, value in _ROLLOUT.items() if name != "response"
}
"""What a row says of the rollout."""
ENVELOPE_TEXT: Final = json.dumps(ENVELOPE, ensure_ascii=False)
