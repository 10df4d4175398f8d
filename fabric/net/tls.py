"""A node's Ed25519 key: its file, its signatures, and the certificate that carries it in TLS.

The key is the identity; the certificate is only the form in which TLS wants to see it. Its names
and dates say nothing, and it is the same, byte for byte, however often it is made.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from pathlib import Path
from typing import NoReturn

from attrs import field, frozen
from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_seed_keypair

from fabric import durable
from fabric.errors import ConfigError
from fabric.net.certificate import self_signed

SEED_BYTES = 32

SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of a key in a certificate's public key (RFC 8410, 4)."""

_PKCS8_PREFIX = bytes.fromhex("302e020100300506032b657004220420")
"""What stands before the 32 bytes of a seed in a private key file (RFC 8410, 7)."""


@frozen(repr=False)
class NodeKey:
    """A node's identity. Made by :func:`load_key`, :func:`create_key` or :meth:`from_seed`."""

    seed: bytes
    """The secret. It leaves the process in no form but the key file."""

    public: bytes
    """32 bytes; what peers pin."""

    file: Path | None = None
    """Where it was read from; its certificate is kept beside it."""

    _pair: bytes = field(kw_only=True, eq=False)

    @classmethod
    def from_seed(cls, seed: bytes, *, file: Path | None = None) -> NodeKey:
        """The key of 32 secret random bytes; :exc:`ValueError` for any other number of them."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed is {SEED_BYTES} bytes, not {len(seed)}")
        public, pair = crypto_sign_seed_keypair(seed)
        return cls(seed, public, file, pair=pair)

    def sign(self, message: bytes) -> bytes:
        """64 bytes. The caller starts *message* with a context that no other use shares."""
        return crypto_sign(message, self._pair)[:crypto_sign_BYTES]

    def __repr__(self) -> str:
        return f"NodeKey(public={self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a node's key is not copied or pickled")


def load_key(path: Path) -> NodeKey:
    """Read a key file: 64 hexadecimal digits, readable by its owner alone.

    Raises :exc:`ConfigError` with one mistake, which names the file and the remedy.
    """
    try:
        text = _private_text(path)
    except FileNotFoundError:
        _refuse(
            path, "there is no such file", "draw a key: (umask 077; openssl rand -hex 32 > FILE)"
        )
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror})", "name a file that this user can read")
    if not re.fullmatch(rb"[0-9a-fA-F]{64}\s*", text):
        _refuse(path, "is not 64 hexadecimal digits", "draw a new key, or restore this one")
    return NodeKey.from_seed(bytes.fromhex(text.decode()), file=path)


def create_key(path: Path) -> NodeKey:
    """Draw a key and keep it at *path*, mode 0600. :exc:`FileExistsError` where a file is.

    Makes its certificate too: better whoever draws a key has X.509 in memory than its node.
    """
    key = NodeKey.from_seed(os.urandom(SEED_BYTES), file=path)
    durable.create_file(path, key.seed.hex().encode() + b"\n")
    certificate_for(key)
    return key


def certificate_for(key: NodeKey) -> tuple[bytes, bytes]:
    """The certificate and private key of *key* as PEM.

    The certificate is kept as ``<key file>.crt``: making one imports ``cryptography``, 12 MB
    resident in a node, and reading one does not. Where the folder cannot be written it is made
    each time.
    """
    kept = key.file and key.file.with_name(f"{key.file.name}.crt")
    certificate = _kept_certificate(kept, key) if kept else None
    if certificate is None:
        certificate = _pem("CERTIFICATE", self_signed(key.seed))
        if kept:
            _keep(kept, certificate)
    return certificate, _pem("PRIVATE KEY", _PKCS8_PREFIX + key.seed)


def _private_text(path: Path) -> bytes:
    # The checks are made on what was opened: nothing can be swapped between check and read.
    with open(path, "rb", opener=_open_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            _refuse(path, "is not a regular file", "name the file that holds the key")
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            _refuse(path, f"others may use it (mode {mode:04o})", f"chmod 600 {path}")
        return file.read(100)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO in the file's place must not hang a start


def _refuse(path: Path, what: str, remedy: str) -> NoReturn:
    raise ConfigError([f"{path}: {what}; {remedy}"])


def _kept_certificate(path: Path, key: NodeKey) -> bytes | None:
    """The certificate at *path*, if it is one for *key*."""
    try:
        lines = path.read_bytes().split(b"\n")
        der = base64.b64decode(b"".join(lines[1:-2]), validate=True)
    except (OSError, ValueError):
        return None
    certificate = _pem("CERTIFICATE", der)
    whole = certificate == b"\n".join(lines) and SPKI_PREFIX + key.public in der
    return certificate if whole else None


def _keep(path: Path, certificate: bytes) -> None:
    try:
        durable.replace_file(path, certificate, mode=0o644)
    except OSError:
        return  # a read-only folder of keys is sound; it costs the import at each start


def _pem(label: str, der: bytes) -> bytes:
    text = base64.encodebytes(der).replace(b"\n", b"")
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    begin, end = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
    return b"\n".join([begin, *lines, end, b""])
