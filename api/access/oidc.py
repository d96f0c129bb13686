"""The login `oidc`: OpenID Connect by authorization code with PKCE, state and nonce. The home of Authlib.

What Authlib leaves to its caller is said here: the issuer must be the one of the setting, the token be for us alone,
and signed by a key of the provider, not by a secret. The keys are fetched again when a token names one that is not
known, and after a token that did not fit, so a provider may rotate them.

An e-mail counts where the provider says that it verified it (`email_verified`); whoever may choose their own would else
choose that of an admin.
"""

import logging
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from flask import Flask, session
from joserfc.errors import JoseError
from requests import RequestException
from werkzeug.wrappers import Response

from ...workflows.errors import UsageError
from ...workflows.settings import Settings
from .logins import LoginRefused
from .people import Identity, Roles

log = logging.getLogger(__name__)

NAME = "oidc"
DISCOVERY = "/.well-known/openid-configuration"
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LEEWAY_SECONDS = 60  # by which the clocks of the provider and of this host may differ
TIMEOUT_SECONDS = 10
LOCAL = ("localhost", "127.0.0.1", "::1")
FAULTS = (OAuthError, JoseError, RequestException, ValueError, KeyError, TypeError, RuntimeError)


class Provider:
    """The provider of the settings. It is asked when the first one logs in: without it the API starts all the same."""

    def __init__(self, app: Flask, settings: Settings, roles: Roles):
        """Raises UsageError where a setting is missing, or the issuer could be listened to."""
        self.issuer = settings.need("oidc_issuer")
        if not _is_safe(self.issuer):
            raise UsageError(f"celeriac_oidc_issuer={self.issuer!r}: a URL that begins with https:// is expected")
        self.host = urlsplit(self.issuer).netloc
        self._roles, self._groups_claim = roles, settings.oidc_groups_claim
        registry: Any = OAuth(app)
        self._client = registry.register(
            NAME,
            server_metadata_url=self.issuer.rstrip("/") + DISCOVERY,
            client_id=settings.need("oidc_client_id"),
            client_secret=settings.need("oidc_client_secret"),
            client_kwargs={
                "scope": settings.oidc_scope,
                "code_challenge_method": "S256",
                "default_timeout": TIMEOUT_SECONDS,
            },
        )
        if "openid" not in settings.oidc_scope.split():
            raise UsageError(f"celeriac_oidc_scope={settings.oidc_scope!r} lacks openid")

    def start(self, callback_url: str) -> Response:
        """Sends the browser to the provider. What it must bring back is in the session. Raises LoginRefused."""
        for name in [name for name in session if name.startswith("_state_")]:
            del session[name]  # of an attempt before, which is over
        try:
            self._check_metadata()
            return cast(Response, self._client.authorize_redirect(callback_url))
        except FAULTS as error:
            raise self._away(error) from error

    def finish(self) -> tuple[Identity, str]:
        """Who came back from the provider, and its ID token of them. Raises LoginRefused."""
        try:
            self._check_metadata()
        except FAULTS as error:
            raise self._away(error) from error
        options = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": self._client.client_id},  # where it is for others too, `azp` names us
        }
        try:
            token = self._client.authorize_access_token(claims_options=options, leeway=LEEWAY_SECONDS)
            return self._identity(token["userinfo"]), token["id_token"]
        except FAULTS as error:
            self._client.server_metadata.pop("jwks", None)  # the next one is held against fresh keys
            log.warning(
                "a login by %s is refused: %s: %r", self.issuer, type(error).__name__, str(error)
            )  # %r: one line
            raise LoginRefused(
                f"{self.host} did not confirm who you are, or the answer was not for this login: try it again. "
                "The log of this server says why."
            ) from error

    def way_out(self, hint: str | None, back_url: str, state: str) -> str | None:
        """Where the provider ends its session, too, and leads back to `back_url`, with `state`: RP-Initiated Logout.

        `hint`: the ID token of the one who leaves; without it the provider may ask them. None: it has no such place, or
        cannot be asked for it.
        """
        try:
            self._check_metadata()
        except FAULTS as error:
            log.error("the provider %s cannot be told of a logout: %s: %s", self.issuer, type(error).__name__, error)
            return None
        place = self._client.server_metadata.get("end_session_endpoint")
        if not isinstance(place, str) or not _is_safe(place):
            return None
        told = {"id_token_hint": hint, "client_id": self._client.client_id, "post_logout_redirect_uri": back_url}
        query = urlencode({name: value for name, value in (told | {"state": state}).items() if value})
        return f"{place}{'&' if urlsplit(place).query else '?'}{query}"

    def _check_metadata(self) -> None:
        """Raises ValueError where the document of the provider is of somebody else."""
        metadata = self._client.load_server_metadata()
        if metadata.get("issuer") != self.issuer:
            told = metadata.get("issuer")
            metadata.pop("_loaded_at", None)
            raise ValueError(f"its document is of the issuer {told!r}, and celeriac_oidc_issuer is {self.issuer!r}")
        told = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        signed_by = [name for name in ALGORITHMS if name in told]
        if not signed_by:
            raise ValueError(f"it signs by none of {', '.join(ALGORITHMS)}")
        metadata["id_token_signing_alg_values_supported"] = signed_by

    def _identity(self, claims: dict[str, Any]) -> Identity:
        groups = claims.get(self._groups_claim) or []
        groups = [groups] if isinstance(groups, str) else groups
        is_verified = claims.get("email_verified") in (True, "true")
        email = claims.get("email") if is_verified and isinstance(claims.get("email"), str) else None
        known = sorted(each for each in groups if isinstance(each, str) and each in self._roles.groups)
        return Identity(str(claims["sub"]), email, known)

    def _away(self, error: Exception) -> LoginRefused:
        log.error("the provider %s cannot be asked: %s: %s", self.issuer, type(error).__name__, error)
        return LoginRefused(f"{self.host} cannot be asked who you are: try it again, or see the log of this server")


def _is_safe(url: str) -> bool:
    """Whether nobody on the way can listen."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL)
