"""Secrets that logs, errors, spans and alerts do not keep: values under names like `password`, and the values that this
process was given."""

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .. import registry
from ..errors import UsageError
from ..settings import Settings

if TYPE_CHECKING:
    from ..application import Celeriac

HIDDEN = "***"
SHORTEST = 4  # characters: what is shorter stands in words that are no secret
SHORTEST_GIVEN = 8  # of an environment variable, which may hold `true` as well


class Redaction:
    """Hides what stands under one of `names` (`token` is also `Access-Token`), and `values` anywhere."""

    def __init__(self, names: Iterable[str], values: Iterable[str] = ()):
        words = "|".join(re.escape(name).replace("_", "[_-]?") for name in names)
        name = rf"(?:\w+[_-])?(?:{words})" if words else r"(?!)"
        self._name = re.compile(name, re.IGNORECASE)
        self._named = re.compile(
            rf"(?<![\w-])({name})([\"']?\s*[=:]\s*)((?:bearer|basic)\s+)?(\"[^\"]*\"|'[^']*'|[^\s,;&)}}\]]+)",
            re.IGNORECASE,
        )
        self._has_name = re.compile(words or r"(?!)", re.IGNORECASE)
        secrets = sorted({each for each in values if len(each) >= SHORTEST}, key=len, reverse=True)
        self._value = re.compile("|".join(map(re.escape, secrets)) or r"(?!)")

    @classmethod
    def of(cls, durable: "Celeriac") -> "Redaction":
        """What the setting `redact` names, and the secrets that this process knows: of its webhook endpoints, the API
        key, the passwords of its servers, and environment variables of those names."""
        settings = durable.settings
        names = _names(settings)
        broker = durable.app.conf.broker_url or ""
        urls = [
            settings.database_url,
            settings.redis_url,
            settings.smtp_url,
            *([broker] if isinstance(broker, str) else broker),
        ]
        values = [settings.api_key, settings.oidc_client_secret, *settings.secret_key.split(","), *_passwords(urls)]
        for endpoint in durable.endpoints.values():
            values += endpoint.secrets
        redaction = cls(names)
        given = os.environ.items()
        values += [value for name, value in given if len(value) >= SHORTEST_GIVEN and redaction.is_secret(name)]
        return cls(names, values)

    @classmethod
    def of_process(cls) -> "Redaction":
        """That of the Celeriac of this process; what the default setting names where there is none."""
        try:
            return registry.durable().redaction
        except UsageError:
            return cls(_names(Settings()))

    def is_secret(self, name: str) -> bool:
        return self._name.fullmatch(name) is not None

    def text(self, text: str) -> str:
        """A message without its secrets."""
        text = self._value.sub(HIDDEN, text)
        if not self._has_name.search(text):
            return text
        return self._named.sub(lambda found: f"{found[1]}{found[2]}{HIDDEN}", text)

    def within(self, value: Any) -> Any:
        """A JSON value without its secrets."""
        if isinstance(value, dict):
            return {
                name: HIDDEN if self.is_secret(name) and member is not None else self.within(member)
                for name, member in value.items()
            }
        if isinstance(value, list):
            return [self.within(member) for member in value]
        return self.text(value) if isinstance(value, str) else value


def _names(settings: Settings) -> list[str]:
    return [name.strip() for name in settings.redact.split(",") if name.strip()]


def _passwords(urls: Iterable[str]) -> list[str]:
    found = []
    for url in urls:
        for each in url.split(";"):
            try:
                password = urlsplit(each).password
            except ValueError:  # no URL: what needs it says so
                continue
            found += [password, unquote(password)] if password else []
    return found
