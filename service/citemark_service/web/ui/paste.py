"""The box to paste a rollout and score it: a plain form, inside the bounds of `/v1/score`."""

from importlib import resources
from typing import Final

from starlette.requests import Request

from citemark_schemas import Knobs, Rollout, ScoreResult
from citemark_service.errors import InvalidRequest, TooLarge
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.web.admission import Admission
from citemark_service.web.batch import unless_gone
from citemark_service.web.intake import validated
from citemark_service.web.origin import origin_of
from citemark_service.web.ui.forms import Forms

FIELD: Final = "rollout"

_ESCAPED: Final = 3
"""What a form may make of a byte: `%22`."""
_CALLER: Final = "ui"


class Unusable(Exception):
    """The pasted text is no rollout that can be scored.

    Args:
        text: what was pasted, for the box.
        error: what is wrong with it.
    """

    def __init__(self, text: str, error: InvalidRequest | TooLarge) -> None:
        super().__init__(str(error))
        self.text = text
        self.error = error


class PasteBox:
    """Scores what a form holds."""

    def __init__(
        self, *, pipeline: Pipeline, settings: Settings, admission: Admission, forms: Forms
    ) -> None:
        self._forms = forms
        self._pipeline = pipeline
        self._settings = settings
        self._admission = admission

    async def scored(self, request: Request) -> tuple[Rollout, ScoreResult]:
        """The form's rollout with its result.

        Raises:
            Unusable: it is no rollout; nothing was judged.
            RequestError: it was refused before it was read.
            ClientDisconnect: the client went away.
        """
        self._admission.require_open()
        with self._admission.rollouts.hold() as rollouts:
            rollouts.take()
            limit = _ESCAPED * self._settings.max_rollout_bytes
            fields = await self._forms.fields(request, limit=limit)
            text = fields.get(FIELD, "")
            rollout = self._rollout(text)
            self._admission.require_open()
            async with self._admission.work():
                return rollout, await unless_gone(request.receive, self._score(rollout, request))

    def _rollout(self, text: str) -> Rollout:
        raw = text.encode(errors="replace")
        limit = self._settings.max_rollout_bytes
        if len(raw) > limit:
            raise Unusable("", TooLarge(f"{len(raw)} bytes are over max_rollout_bytes, {limit}"))
        try:
            return validated(raw, Knobs(), self._pipeline.check)
        except InvalidRequest as error:
            raise Unusable(text, error) from error

    async def _score(self, rollout: Rollout, request: Request) -> ScoreResult:
        return await self._pipeline.score(
            rollout,
            request=Knobs(),
            position=0,
            deadline=None,
            origin=origin_of(request, _CALLER, "training"),
        )


def example() -> str:
    """A rollout to begin with."""
    file = resources.files("citemark_service.web") / "examples" / "rollout.json"
    return file.read_text("utf-8")
