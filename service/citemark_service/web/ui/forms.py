"""A plain form's fields, read within the service's bounds."""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from citemark_service.settings import Settings
from citemark_service.web.admission import Admission
from citemark_service.web.body import declared_length, read_body

_FIELDS: Final = 8


class Forms:
    """Reads what browsers send."""

    def __init__(self, *, settings: Settings, admission: Admission) -> None:
        self._timeout_s = settings.body_timeout_s
        self._admission = admission

    async def fields(self, request: Request, *, limit: int) -> Mapping[str, str]:
        """The fields by name, of each the first; the body has at most `limit` bytes.

        Raises:
            RequestError: it is longer, it stopped arriving, or there is no room for it.
            ClientDisconnect: the client went away.
        """
        with self._admission.buffered.hold() as held:
            body = await read_body(
                request.receive,
                declared=declared_length(request.headers),
                limit=limit,
                held=held,
                admission=self._admission,
                timeout_s=self._timeout_s,
            )
            return await asyncio.to_thread(_fields, body)


def _fields(body: bytes) -> dict[str, str]:
    """Browsers send line ends as CR LF."""
    try:
        text = body.decode("utf-8", "replace")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:  # more fields than any of these forms has
        return {}
    return {name: value.replace("\r\n", "\n") for name, value in reversed(pairs)}
