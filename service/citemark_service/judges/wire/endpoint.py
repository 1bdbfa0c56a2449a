"""Where a judge is and how it is addressed, checked before the first call."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from citemark_service.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible API, usually with a path that ends in `/v1`.

    Raises:
        SettingsError: the URL is not http(s), or carries a password; the key has line breaks.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what would fail on every call, or show a secret in error messages."""
        try:
            parts = urlsplit(self.base_url)
            host, _port = parts.hostname, parts.port
        except ValueError as error:
            raise SettingsError(f"judge_url: {error}") from error
        if parts.username is not None:
            raise SettingsError("judge_url must not hold credentials; set judge_api_key")
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise SettingsError(f"judge_url must be a plain http(s) URL, not {self.base_url!r}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise SettingsError("judge_api_key must be one line of printable ASCII")

    @property
    def place(self) -> str:
        """Host and port, as the URL has them."""
        return urlsplit(self.base_url).netloc

    def url(self, path: str) -> str:
        """The address of one route, such as `chat/completions`."""
        return f"{self.base_url.rstrip('/')}/{path}"
