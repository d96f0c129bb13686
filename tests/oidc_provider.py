"""A provider of OpenID Connect on a port of this machine: it signs real tokens, and lies where a test wants it to."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

CLIENT_ID, CLIENT_SECRET = "celeriac", "the secret of the client"


class Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """A request is no news."""


class Provider:
    """Whoever comes to it is `claims["sub"]`, at once. `lies` stand in the ID token in place of what is true."""

    def __init__(self) -> None:
        self.url = ""
        self.claims: dict[str, Any] = {"sub": "4711", "email": "ada@example.org", "email_verified": True}
        self.lies: dict[str, Any] = {}
        self.document_lies: dict[str, Any] = {}
        self.header = {"alg": "RS256"}
        self.forger: Any = None  # the key that it signs with and does not show
        self.asked: list[dict[str, str]] = []  # what the browsers brought
        self.left: list[dict[str, str]] = []  # what they brought who logged out
        self.is_away = False
        self._codes: dict[str, dict[str, str]] = {}
        self._keys: list[RSAKey] = []
        self.rotate()

    def rotate(self) -> None:
        """Signs with a new key from now on, and shows no other."""
        self._keys = [RSAKey.generate_key(2048, {"kid": f"key-{secrets.token_hex(4)}", "use": "sig"})]

    def token(self, nonce: str) -> str:
        now, key = int(time.time()), self.forger or self._keys[0]
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce, **self.claims}
        claims = {name: value for name, value in (claims | self.lies).items() if value is not None}
        header = {**self.header, "kid": self._keys[0].kid}
        if header["alg"] == "none":
            return f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}."
        if header["alg"] == "HS256":  # the trick: what all can read is the secret
            key = OctKey.import_key(self._keys[0].as_pem(private=False))
        return jwt.encode(header, claims, key, algorithms=[header["alg"]])

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        answer = {
            "/.well-known/openid-configuration": self._document,
            "/keys": lambda _: _json({"keys": [key.as_dict(private=False) for key in self._keys]}),
            "/authorize": self._authorize,
            "/token": self._exchange,
            "/logout": self._end,
        }.get(request.path)
        if self.is_away or answer is None:
            return Response("away", 503)(environ, start_response)
        return answer(request)(environ, start_response)

    def _document(self, _: Request) -> Response:
        return _json(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "end_session_endpoint": f"{self.url}/logout",
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
                **self.document_lies,
            }
        )

    def _authorize(self, request: Request) -> Response:
        self.asked.append(request.args.to_dict())
        code = secrets.token_urlsafe(16)
        self._codes[code] = request.args.to_dict()
        back = urlencode({"code": code, "state": request.args["state"]})
        return Response("", 302, {"Location": f"{request.args['redirect_uri']}?{back}"})

    def _exchange(self, request: Request) -> Response:
        asked, given = self._codes.pop(request.form["code"], None), request.authorization
        assert given is not None
        is_client = (given.username, given.password) == (CLIENT_ID, CLIENT_SECRET)
        challenge = _base64(hashlib.sha256(request.form.get("code_verifier", "").encode()).digest())
        if not asked or not is_client or asked["code_challenge"] != challenge:
            return _json({"error": "invalid_grant"}, 400)
        if asked["redirect_uri"] != request.form["redirect_uri"]:
            return _json({"error": "invalid_grant"}, 400)
        token = {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "expires_in": 300}
        return _json({**token, "id_token": self.token(asked["nonce"])})

    def _end(self, request: Request) -> Response:
        """Believes a hint that it has signed, and leads back only where that stands beside it."""
        self.left.append(request.args.to_dict())
        claims = jwt.decode(request.args["id_token_hint"], self._keys[0], algorithms=["RS256"]).claims
        if claims["aud"] != request.args["client_id"] or claims["sub"] != self.claims["sub"]:
            return Response("this is not yours", 400)
        back = urlencode({"state": request.args["state"]})
        return Response("", 302, {"Location": f"{request.args['post_logout_redirect_uri']}?{back}"})


@contextmanager
def provided() -> Iterator[Provider]:
    """Serves one."""
    provider = Provider()
    server = make_server("127.0.0.1", 0, provider, threaded=True, request_handler=Quiet)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _json(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
