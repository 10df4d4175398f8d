"""The TLS 1.3 steps that cost most per handshake, as qh3's would go, for what nodes offer alone.

qh3's TLS is Python and made for browsers' company: its ClientHello carries grease, a decoy for ECH
and groups that no node takes, and its key schedule makes a Python HMAC object for each secret.
Both of our cipher suites hash with SHA-256, so one transcript serves whichever is chosen.
"""

from __future__ import annotations

import hmac
import os
from functools import lru_cache
from typing import Any, cast

from qh3 import tls
from qh3._hazmat import Buffer, Ed25519PrivateKey, X25519KeyExchange, X25519ML768KeyExchange

PRIVATE_NAMES = {
    "Context": (
        "_client_send_hello", "_set_state", "_cipher_suites", "_server_name", "_alpn_protocols",
        "client_random", "handshake_extensions", "key_schedule", "_key_schedule_proxy",
        "_x25519_private_key", "_x25519_kyber_768_private_key", "_server_handle_hello",
        "_setup_traffic_protection", "_enc_key", "_dec_key", "legacy_session_id",
        "received_extensions", "alpn_negotiated", "alpn_cb", "certificate", "certificate_chain",
        "certificate_private_key",
    ),
    "KeySchedule": ("derive_secret", "finished_verify_data", "extract", "cipher_suite",
                    "generation", "hash", "hash_empty_value", "secret", "update_hash",
                    "certificate_verify_data"),
}  # fmt: skip
"""What qh3's TLS must have; a test guards it."""

SHA256_BYTES = 32

NO_COMPRESSION = 0

AGREED_ON = frozenset(
    int(group)
    for group in (
        tls.Group.X25519, tls.Group.X25519ML768,
        tls.Group.SECP256R1, tls.Group.SECP384R1, tls.Group.SECP521R1,
    )
)  # fmt: skip
"""Groups that qh3 takes a key of: the first that a dialler offers is the one agreed on."""


def expand_label(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446, 7.1) with SHA-256, for one block: at most 32 bytes."""
    info = b"%b%c%b%c%b\x01" % (
        length.to_bytes(2, "big"), 6 + len(label), b"tls13 " + label, len(context), context,
    )  # fmt: skip
    return hmac.digest(secret, info, "sha256")[:length]


class Schedule(tls.KeySchedule):
    """The key schedule with one-shot HMACs."""

    def select(self, cipher_suite: tls.CipherSuite) -> Schedule:
        """Go on with the suite that the acceptor chose."""
        self.cipher_suite = cipher_suite
        return self

    def derive_secret(self, label: bytes) -> bytes:
        return expand_label(self.secret, label, self.hash.digest(), SHA256_BYTES)

    def finished_verify_data(self, secret: bytes) -> bytes:
        key = expand_label(secret, b"finished", b"", SHA256_BYTES)
        return hmac.digest(key, self.hash.digest(), "sha256")

    def extract(self, key_material: bytes | None = None) -> None:
        if self.generation:
            self.secret = expand_label(
                self.secret, b"derived", self.hash_empty_value, SHA256_BYTES
            )
        self.generation += 1
        self.secret = hmac.digest(self.secret, key_material or bytes(SHA256_BYTES), "sha256")


class Handshake(tls.Context):
    """One end's TLS. :func:`take_over` makes it, of what qh3 makes where nobody can choose."""

    _alpn_protocols: list[str]
    legacy_session_id: Any
    _dec_key: Any
    _enc_key: Any
    alpn_cb: Any
    certificate: Any
    certificate_private_key: Any
    _key_schedule_proxy: Any
    _schedule: Schedule | None = None

    @property
    def key_schedule(self) -> Any:  # noqa: ANN401 -- an attribute of qh3's, untyped there
        return self._schedule

    @key_schedule.setter
    def key_schedule(self, made: Any) -> None:  # noqa: ANN401
        made.__class__ = Schedule
        self._schedule = made

    def _client_send_hello(self, output_buf: Buffer) -> None:
        hello = self._client_hello()
        output_buf.push_bytes(hello)
        schedule = Schedule(self._cipher_suites[0])
        schedule.extract()
        schedule.update_hash(hello)
        self._key_schedule_proxy = schedule
        self._set_state(tls.State.CLIENT_EXPECT_SERVER_HELLO)

    def _client_hello(self) -> bytes:
        """Return a ClientHello (RFC 8446, 4.1.2)."""
        shares = self._key_shares()
        extensions = b"".join(
            (
                _constant_extensions(
                    self._server_name or "", tuple(self._alpn_protocols), tuple(shares)
                ),
                _extension(tls.ExtensionType.KEY_SHARE, _block(2, _encoded(shares))),
                *(_extension(kind, value) for kind, value in self.handshake_extensions),
            )
        )
        suites = _uint16s(self._cipher_suites)
        body = b"".join(
            (
                _uint16s([tls.TLS_VERSION_1_2]), self.client_random, b"\0",
                _block(2, suites), b"\1\0", _block(2, extensions),
            )
        )  # fmt: skip
        return bytes((tls.HandshakeType.CLIENT_HELLO,)) + _block(3, body)

    def _server_handle_hello(
        self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer, onertt_buf: Buffer
    ) -> None:
        hello = tls.pull_client_hello(input_buf)
        suite = tls.negotiate(self._cipher_suites, hello.cipher_suites)
        share = next((each for each in hello.key_share or () if each[0] in AGREED_ON), None)
        if suite is None or share is None or not self._is_a_nodes(hello, share):
            input_buf.seek(0)
            super()._server_handle_hello(input_buf, initial_buf, handshake_buf, onertt_buf)
            return
        self._take_hello(hello)
        self.key_schedule = schedule = Schedule(suite)
        schedule.extract()
        schedule.update_hash(input_buf.data)
        self._say_hello(initial_buf, share[1])
        self._say_who_we_are(handshake_buf)
        schedule.extract()
        self._setup_traffic_protection(tls.Direction.ENCRYPT, tls.Epoch.ONE_RTT, b"s ap traffic")
        self._next_dec_key = schedule.derive_secret(b"c ap traffic")
        self._expected_verify_data = schedule.finished_verify_data(self._dec_key)
        self._set_state(tls.State.SERVER_EXPECT_FINISHED)

    def _is_a_nodes(self, hello: tls.ClientHello, share: tuple[int, bytes]) -> bool:
        """Whether it is between two nodes; what else there is, qh3 answers or refuses."""
        return (
            isinstance(self.certificate_private_key, Ed25519PrivateKey)
            and share[0] == tls.Group.X25519ML768
            and tls.SignatureAlgorithm.ED25519 in (hello.signature_algorithms or ())
            and tls.TLS_VERSION_1_3 in (hello.supported_versions or ())
            and self._alpn_protocols[0] in (hello.alpn_protocols or ())
            and NO_COMPRESSION in hello.legacy_compression_methods
        )

    def _take_hello(self, hello: tls.ClientHello) -> None:
        self.client_random = hello.random
        self.legacy_session_id = hello.legacy_session_id
        self.received_extensions = hello.other_extensions
        self.alpn_negotiated = self._alpn_protocols[0]
        self.alpn_cb(self.alpn_negotiated)  # judges the transport parameters

    def _say_hello(self, out: Buffer, peer_share: bytes) -> None:
        """Say a ServerHello (4.1.3), and derive what the rest of the handshake is sealed with."""
        agreement = X25519ML768KeyExchange()
        shared = agreement.exchange(peer_share)
        share = _encoded({int(tls.Group.X25519ML768): agreement.shared_ciphertext()})
        self.server_random = os.urandom(32)
        extensions = _extension(
            tls.ExtensionType.SUPPORTED_VERSIONS, _uint16s([tls.TLS_VERSION_1_3])
        ) + _extension(tls.ExtensionType.KEY_SHARE, share)
        body = b"".join(
            (
                _uint16s([tls.TLS_VERSION_1_2]), self.server_random,
                _block(1, self.legacy_session_id), _uint16s([self.key_schedule.cipher_suite]),
                b"\0", _block(2, extensions),
            )
        )  # fmt: skip
        self._say(out, tls.HandshakeType.SERVER_HELLO, body)
        self.key_schedule.extract(shared)
        for direction, label in (
            (tls.Direction.ENCRYPT, b"s hs traffic"),
            (tls.Direction.DECRYPT, b"c hs traffic"),
        ):
            self._setup_traffic_protection(direction, tls.Epoch.HANDSHAKE, label)

    def _say_who_we_are(self, out: Buffer) -> None:
        """Say the messages from EncryptedExtensions to Finished (4.3.1, 4.4)."""
        schedule, kinds = self.key_schedule, tls.HandshakeType
        spoken = _block(2, _block(1, self._alpn_protocols[0].encode()))
        extensions = _extension(tls.ExtensionType.ALPN, spoken) + b"".join(
            _extension(kind, value) for kind, value in self.handshake_extensions
        )
        self._say(out, kinds.ENCRYPTED_EXTENSIONS, _block(2, extensions))
        chain = [self.certificate, *self.certificate_chain]
        entries = b"".join(_block(3, each.public_bytes()) + b"\0\0" for each in chain)
        self._say(out, kinds.CERTIFICATE, b"\0" + _block(3, entries))
        signed = schedule.certificate_verify_data(b"TLS 1.3, server CertificateVerify")
        signature = self.certificate_private_key.sign(signed)
        algorithm = _uint16s([tls.SignatureAlgorithm.ED25519])
        self._say(out, kinds.CERTIFICATE_VERIFY, algorithm + _block(2, signature))
        self._say(out, kinds.FINISHED, schedule.finished_verify_data(self._enc_key))

    def _say(self, out: Buffer, kind: int, body: bytes) -> None:
        message = bytes((kind,)) + _block(3, body)
        out.push_bytes(message)
        self.key_schedule.update_hash(message)

    def _key_shares(self) -> dict[int, bytes]:
        """Make the keys to agree with: the hybrid for nodes, X25519 for whoever lacks it."""
        self._x25519_kyber_768_private_key = X25519ML768KeyExchange()
        self._x25519_private_key = X25519KeyExchange()
        return {
            int(tls.Group.X25519ML768): self._x25519_kyber_768_private_key.public_key(),
            int(tls.Group.X25519): self._x25519_private_key.public_key(),
        }


def take_over(context: tls.Context) -> None:
    """Turn qh3's fresh *context* into a :class:`Handshake`."""
    cast("Handshake", context).__class__ = Handshake


@lru_cache(maxsize=16)
def _constant_extensions(
    server: str, protocols: tuple[str, ...], groups: tuple[int, ...]
) -> bytes:
    kinds = tls.ExtensionType
    name = b"\0" + _block(2, server.encode())
    spoken = b"".join(_block(1, each.encode()) for each in protocols)
    return b"".join(
        (
            _extension(kinds.SERVER_NAME, _block(2, name)),
            _extension(kinds.ALPN, _block(2, spoken)),
            _extension(kinds.SUPPORTED_VERSIONS, _block(1, _uint16s([tls.TLS_VERSION_1_3]))),
            _extension(kinds.SUPPORTED_GROUPS, _block(2, _uint16s(groups))),
            _extension(
                kinds.SIGNATURE_ALGORITHMS, _block(2, _uint16s([tls.SignatureAlgorithm.ED25519]))
            ),
        )
    )


def _encoded(shares: dict[int, bytes]) -> bytes:
    return b"".join(_uint16s([group]) + _block(2, key) for group, key in shares.items())


def _extension(kind: int, value: bytes) -> bytes:
    return _uint16s([kind]) + _block(2, value)


def _block(width: int, value: bytes) -> bytes:
    return len(value).to_bytes(width, "big") + value


def _uint16s(values: Any) -> bytes:  # noqa: ANN401
    return b"".join(int(value).to_bytes(2, "big") for value in values)
