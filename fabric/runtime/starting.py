"""What a node starts from: its number, its name, what it kept, its socket."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import structlog
from attrs import frozen

from fabric.config import NodeConfig, ServiceConfig
from fabric.core.admission import Myself
from fabric.core.identity import NodeName
from fabric.net.tls import NodeKey
from fabric.runtime.boot import claim_boot_seq, draw_instance
from fabric.runtime.exposures import read_exposed
from fabric.runtime.knowledge import Knowledge
from fabric.trio_quic import Settings, Transport, open_udp_socket

log = structlog.get_logger()


@frozen
class Kept:
    """What the state folder holds besides the peer cache."""

    boot_seq: int
    exposed: Mapping[str, ServiceConfig]


def what_is_kept(config: NodeConfig, unix_now: float) -> Kept:
    """Read it, and claim the number of this process.

    Blocks for the disk. Raises :exc:`ConfigError` for what is damaged, and :exc:`OSError`.
    """
    return Kept(claim_boot_seq(config.state_dir, unix_now), read_exposed(config.state_dir))


def myself(config: NodeConfig, key: NodeKey, knowledge: Knowledge, boot_seq: int) -> Myself:
    """Return who this node is: by its signed record, where there is one, else by *config*."""
    record = knowledge.own_record()
    if record is not None and record.name != config.name:
        log.warning("node.named_otherwise", record=record.name, configured=config.name)
    return Myself(
        name=NodeName(record.name if record is not None else config.name),
        key=key.public,
        fabric_id=knowledge.fabric_id,
        instance=draw_instance(),
        boot_seq=boot_seq,
        sign=key.sign,
    )


def socket_of(config: NodeConfig) -> Transport:
    """Return a new UDP socket where *config* listens. Raises :exc:`OSError`."""
    listen = config.quic.listen
    return open_udp_socket(
        listen.host, listen.port, buffer_bytes=settings_of(config).socket_buffer_bytes
    )


def settings_of(config: NodeConfig) -> Settings:
    """Return what *config* says to the driver."""
    # Links probe each other every second: QUIC's own keepalive would only repeat that.
    return Settings(max_datagram_bytes=config.quic.datagram_bytes, keepalive=0)


def reset_key_of(key: NodeKey) -> bytes:
    """Return the secret for stateless resets: the same after a restart, told by nothing else."""
    return hashlib.blake2b(key.seed, digest_size=32, person=b"fabric reset").digest()
