"""Forms, read within the service's bounds, and the one that scores a pasted rollout."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from citemark_schemas import Knobs, ProblemDetail, RequestOptions
from citemark_service.errors import InvalidRequest, TooLarge
from citemark_service.score.pipeline import Pipeline
from citemark_service.web.admission import Admission, Reads
from citemark_service.web.intake import parse_rollout, read_body, run_unless_gone, to_origin
from citemark_service.web.ui.pages import rollout_page
from citemark_service.web.ui.templates import Templates, to_response

_ESCAPED: Final = 3  # bytes that a form may make of one: `%22`


def sent_from_elsewhere(headers: Headers) -> bool:
    """Whether a browser says that another site sent this form."""
    # Browsers name the site that sends a form; without any, the client is no browser.
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] not in {"same-origin", "none"}
    origin = headers.get("origin")
    # Under no-referrer, browsers without Sec-Fetch-Site say `null` for their own forms too.
    return origin not in (None, "null") and urlsplit(origin).netloc != headers.get("host")


async def read_fields(request: Request, *, limit: int, admission: Admission) -> Mapping[str, str]:
    """A form's fields by name, of each the first.

    Raises:
        RequestError: over `limit` bytes, it stopped arriving, or there is no room for it.
        ClientDisconnect: the client went away.
    """
    with admission.buffered.hold() as held:
        body = await read_body(request, admission, held, limit=limit)
        # Unescaping megabytes would hold the event loop.
        return await asyncio.to_thread(_parse_fields, body)


def _parse_fields(body: bytes) -> dict[str, str]:
    try:
        text = body.decode("utf-8", "replace")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=8)
    except ValueError:  # more fields than any of these forms has
        return {}
    # Browsers send line ends as CR LF.
    return {name: value.replace("\r\n", "\n") for name, value in reversed(pairs)}


@dataclass(frozen=True)
class PasteBox:
    """The form that scores a pasted rollout, within the bounds of `/v1/score`."""

    pipeline: Pipeline
    admission: Admission
    reads: Reads
    templates: Templates

    async def show(self) -> Response:
        file = resources.files("citemark_service.examples") / "rollout.json"
        return self._respond(file.read_text("utf-8"))

    async def submit(self, request: Request) -> Response:
        """The rollout's page, or the form with what is wrong.

        Raises:
            RequestError: refused before it was read, or its page cannot be made now.
            HTTPException: another site sent it.
            ClientDisconnect: the client went away.
        """
        if sent_from_elsewhere(request.headers):
            raise HTTPException(403, "Another site sent this form; nothing was scored.")
        self.admission.require_open()
        with self.admission.rollouts.hold() as held:
            held.take()
            limit = self.admission.settings.max_rollout_bytes
            fields = await read_fields(request, limit=_ESCAPED * limit, admission=self.admission)
            text = fields.get("rollout", "")
            raw = text.encode(errors="replace")
            if len(raw) > limit:
                message = f"{len(raw)} bytes are over max_rollout_bytes, {limit}"
                # Without its text, which is too long to send back.
                return self._respond("", message, status=TooLarge.status)
            try:
                rollout = parse_rollout(raw, Knobs(), self.pipeline.read)
            except InvalidRequest as error:
                return self._respond(text, str(error), error.details, status=error.status)
            self.admission.require_open()
            async with self.admission.work():
                origin = to_origin(request, "ui", RequestOptions())
                scoring = self.pipeline.score(
                    rollout, request=Knobs(), position=0, deadline=None, origin=origin
                )
                result = await run_unless_gone(request.receive, scoring)
        page = partial(rollout_page, self.templates, self.pipeline, rollout, result)
        return to_response(await self.reads.run(page))

    def _respond(
        self, text: str, message: str = "", details: Sequence[ProblemDetail] = (), status: int = 200
    ) -> Response:
        return self.templates.respond(
            "paste", status=status, text=text, message=message, details=details
        )
