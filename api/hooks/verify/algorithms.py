"""Signatures, one by one: keys out of secrets, and whether a signature was made with one. Nothing here raises."""

import base64
import binascii
import hashlib
import hmac
import warnings
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ....workflows.webhooks.presets import ECDSA_P256, ED25519, HMAC_SHA1, HMAC_SHA256, HMAC_SHA512, RSA_SHA256, SHARED

DIGESTS = {HMAC_SHA1: "sha1", HMAC_SHA256: "sha256", HMAC_SHA512: "sha512"}


@lru_cache(maxsize=256)  # loading a public key takes longer than a signature
def key_of(secret: str, form: str, algorithm: str) -> Any:
    """The key that a secret is for this algorithm. None: it is none, or is malformed."""
    try:
        if algorithm == SHARED or (algorithm in DIGESTS and form != "whsec"):
            return secret.encode("utf-8", "surrogatepass")
        if algorithm in DIGESTS:
            return None if secret.startswith("whpk_") else _decoded(secret.removeprefix("whsec_")) or None
        return _public_key(secret, form, algorithm)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def matches(algorithm: str, key: Any, content: bytes, signature: bytes) -> bool:
    """Whether `signature` was made over `content` with `key`, in a time that does not tell how near it came."""
    if algorithm == SHARED:
        digests = (hashlib.sha256(each).digest() for each in (key, signature))
        return hmac.compare_digest(*digests)
    if algorithm in DIGESTS:
        return hmac.compare_digest(hmac.digest(key, content, DIGESTS[algorithm]), signature)
    try:
        if algorithm == ED25519:
            key.verify(signature, content)
        elif algorithm == ECDSA_P256:
            key.verify(signature, content, ECDSA(SHA256()))
        elif algorithm == RSA_SHA256:
            key.verify(signature, content, PKCS1v15(), SHA256())
        else:
            return False
        return True
    except (InvalidSignature, ValueError):
        return False


def decoded(text: str, encoding: str) -> bytes | None:
    """The bytes of a signature in hex or base64, strictly. None: it is neither."""
    try:
        given = text.encode("ascii")
        return _decoded(text) if encoding == "base64" else binascii.unhexlify(given)
    except ValueError:
        return None


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii"), validate=True)


def _public_key(secret: str, form: str, algorithm: str) -> Any:
    if algorithm == ED25519:
        raw = bytes.fromhex(secret) if form == "hex" else _decoded(secret.removeprefix("whpk_"))
        return Ed25519PublicKey.from_public_bytes(raw) if form == "hex" or secret.startswith("whpk_") else None
    if algorithm == ECDSA_P256:
        key = load_der_public_key(_decoded("".join(secret.split())))
        return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None
    with warnings.catch_warnings():  # a strange certificate is one that is not accepted, and no news
        warnings.simplefilter("ignore")
        certificate = x509.load_pem_x509_certificate(secret.encode())
        key_of_certificate = certificate.public_key()
    return key_of_certificate if isinstance(key_of_certificate, RSAPublicKey) else None


def is_in_force(secret: str, form: str) -> bool:
    """Whether a certificate is within its dates; every other secret is."""
    if form != "pem":
        return True
    try:
        certificate = x509.load_pem_x509_certificate(secret.encode())
    except ValueError:
        return False
    return certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc
