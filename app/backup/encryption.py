"""Encrypted backups: the age format (X25519, ChaCha20-Poly1305), streamed and authenticated.

A key file holds an age identity, or only recipients, which can encrypt and not decrypt; the `age`
command reads and writes the same files. With a passphrase, a new identity is made, and age encrypts
that one with the passphrase: its slow derivation then runs once, not for every file. The encrypted
identity is on the first line of the backup.
"""

import base64
import binascii
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pyrage
from pyrage import passphrase as by_passphrase
from pyrage import x25519

from app.errors import Invalid

AGE: Final = b"age-encryption.org/v1"
_WRAPPED: Final = b"attune-backup passphrase "
_LONGEST_LINE: Final = 4096
_PASSPHRASE_LEAST: Final = 8

KEY_REMEDY: Final = "give the key with --key-file, or the passphrase with --passphrase-file"


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """Who can read a backup (recipients), what reads it (identities), and a wrapped identity."""

    recipients: tuple[Any, ...]
    identities: tuple[Any, ...] = ()
    wrapped: bytes = b""

    @property
    def fingerprint(self) -> str:
        """A short name of the recipients, for files that they share."""
        listed = ",".join(sorted(map(str, self.recipients)))
        return hashlib.sha256(listed.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Unlock:
    """What a person gives to read a backup."""

    passphrase: str | None = None
    key_file: Path | None = None


NO_KEY: Final = Unlock()


def read_key_file(path: Path) -> EncryptionKey:
    """Read an age identity file, or a file of recipients.

    Raises:
        Invalid: a line is neither.
    """
    recipients, identities = [], []
    for n, line in enumerate(_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            if text.startswith("AGE-SECRET-KEY-1"):
                identities.append(x25519.Identity.from_str(text))
            else:
                recipients.append(x25519.Recipient.from_str(text))
        except (pyrage.IdentityError, pyrage.RecipientError, ValueError) as error:
            raise Invalid(
                f"{path}, line {n}: neither an age identity (AGE-SECRET-KEY-1…) nor a recipient "
                "(age1…)"
            ) from error
    if not recipients and not identities:
        raise Invalid(f"{path} has no age identity and no recipient")
    own = [identity.to_public() for identity in identities]
    return EncryptionKey((*own, *recipients), tuple(identities))


def write_key_file(path: Path) -> EncryptionKey:
    """Write a new identity into a file that only its owner can read.

    Raises:
        Invalid: the file exists.
    """
    identity = x25519.Identity.generate()
    text = f"# public key: {identity.to_public()}\n{identity}\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Invalid(f"{path} exists; a new key is not written over it") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return EncryptionKey((identity.to_public(),), (identity,))


def from_passphrase(passphrase: str, known: bytes = b"") -> EncryptionKey:
    """Return a key that the passphrase unlocks: the one that is wrapped in `known`, or a new one.

    Raises:
        Invalid: the passphrase is too short, or not the one of `known`.
    """
    if len(passphrase) < _PASSPHRASE_LEAST:
        raise Invalid(
            f"a passphrase must have at least {_PASSPHRASE_LEAST} characters, not {len(passphrase)}"
        )
    if known:
        identity = _unwrapped(known, passphrase, "the folder's key")
        return EncryptionKey((identity.to_public(),), (identity,), known)
    identity = x25519.Identity.generate()
    wrapped = by_passphrase.encrypt(str(identity).encode(), passphrase)
    return EncryptionKey((identity.to_public(),), (identity,), wrapped)


@contextmanager
def encrypted(to: IO[bytes], key: EncryptionKey | None) -> Iterator[IO[bytes]]:
    """Yield a stream whose content reaches `to` encrypted; without a key, `to` itself."""
    if key is None:
        yield to
        return
    if key.wrapped:
        to.write(_WRAPPED + base64.b64encode(key.wrapped) + b"\n")
    with encrypted_to(to, key) as stream:
        yield stream


@contextmanager
def encrypted_to(to: IO[bytes], key: EncryptionKey) -> Iterator[IO[bytes]]:
    """Yield a stream whose content reaches `to` as an age file."""
    source, stream = _pipe()
    failures: list[Exception] = []

    def work() -> None:
        try:
            pyrage.encrypt_io(source, to, list(key.recipients))
        except Exception as error:  # noqa: BLE001 - raised again in the other thread
            failures.append(error)
        finally:
            source.close()  # whoever writes to it notices

    thread = threading.Thread(target=work, name="encryption", daemon=True)
    thread.start()
    try:
        yield stream
        stream.flush()
    except BrokenPipeError as error:
        thread.join()
        raise (failures or [error])[0] from error
    finally:
        with suppress(BrokenPipeError):
            stream.close()
        thread.join()
    if failures:
        raise failures[0]


@contextmanager
def decrypted(file: IO[bytes], unlock: Unlock, path: Path) -> Iterator[tuple[IO[bytes], Any]]:
    """Yield a backup's plain content and the identities that read it.

    Raises:
        Invalid: it is encrypted and the key is missing or wrong, or it was changed.
    """
    start = file.read(len(_WRAPPED))
    file.seek(0)
    if not start.startswith((AGE, _WRAPPED)):
        yield file, ()
        return
    identities = _identities(file, unlock, path)
    with decrypted_from(file, identities, path) as stream:
        yield stream, identities


@contextmanager
def decrypted_from(file: IO[bytes], identities: Any, path: Path) -> Iterator[IO[bytes]]:
    """Yield the plain content of an age file.

    Raises:
        Invalid: the identities do not read it, or it was changed or truncated.
    """
    stream, sink = _pipe()
    failures: list[Exception] = []

    def work() -> None:
        try:
            pyrage.decrypt_io(file, sink, list(identities))
        except Exception as error:  # noqa: BLE001 - raised again in the other thread
            failures.append(error)
        finally:
            with suppress(BrokenPipeError):
                sink.close()

    thread = threading.Thread(target=work, name="decryption", daemon=True)
    thread.start()
    broken: Exception | None = None
    try:
        yield stream
        while stream.read(1 << 20):  # the last chunk tells whether the file is whole
            pass
    except Invalid as error:  # what was cut short by a failure here is explained by it
        broken = error
    finally:
        stream.close()
        thread.join()
    for failure in failures:
        if isinstance(failure, pyrage.DecryptError):
            raise Invalid(f"{path} is encrypted with another key") from failure
        if not isinstance(failure, BrokenPipeError):
            raise Invalid(f"{path} was changed or truncated after it was encrypted") from failure
    if broken is not None:
        raise broken


def _identities(file: IO[bytes], unlock: Unlock, path: Path) -> tuple[Any, ...]:
    line = file.readline(_LONGEST_LINE)
    if not line.startswith(_WRAPPED):
        file.seek(0)
        return _from_key_file(unlock, path)
    if unlock.passphrase is None:
        raise Invalid(f"{path} is encrypted with a passphrase: {KEY_REMEDY}")
    try:
        content = base64.b64decode(line[len(_WRAPPED) :].strip(), validate=True)
    except binascii.Error as error:
        raise Invalid(f"{path} is damaged: its first line cannot be read") from error
    return (_unwrapped(content, unlock.passphrase, str(path)),)


def _from_key_file(unlock: Unlock, path: Path) -> tuple[Any, ...]:
    if unlock.key_file is None:
        raise Invalid(f"{path} is encrypted: {KEY_REMEDY}")
    key = read_key_file(unlock.key_file)
    if not key.identities:
        raise Invalid(f"{unlock.key_file} has only recipients; an identity is needed to decrypt")
    return key.identities


def _unwrapped(wrapped: bytes, passphrase: str, what: str) -> Any:
    try:
        identity = by_passphrase.decrypt(wrapped, passphrase).decode()
        return x25519.Identity.from_str(identity)
    except (pyrage.DecryptError, pyrage.IdentityError, ValueError, OSError) as error:
        raise Invalid(f"the passphrase does not open {what}, or it is damaged") from error


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"the key file {path} cannot be read: {error}") from error
