"""Texts that must be read back and are kept, or given to a browser, encrypted.

Each purpose has a key of its own, derived from the application's secret by HKDF-SHA256; a text that
was sealed for one purpose opens for no other. The cipher is AES-256-GCM, which also shows whether a
text was changed.
"""

import base64
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES: Final = 12  # drawn at random: far fewer than 2**32 texts are sealed with one key


def seal(secret: bytes, purpose: str, text: str) -> str:
    """Encrypt a text for a purpose, such as `second factor of user 7`; returns URL-safe letters."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = _cipher(secret, purpose).encrypt(nonce, text.encode(), None)
    return base64.urlsafe_b64encode(nonce + sealed).decode()


def unseal(secret: bytes, purpose: str, sealed: str) -> str | None:
    """Decrypt a text; None if it was changed, or sealed with another secret or purpose."""
    try:
        raw = base64.urlsafe_b64decode(sealed.encode())
        return (
            _cipher(secret, purpose).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None).decode()
        )
    except (InvalidTag, ValueError):  # too short, or no base64
        return None


def _cipher(secret: bytes, purpose: str) -> AESGCM:
    info = f"attune: {purpose}".encode()
    return AESGCM(HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret))
