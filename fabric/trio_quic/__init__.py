"""QUIC for Trio, over the qh3 engine: endpoints, connections, streams with real back-pressure.

See ``README.md`` beside this file for a first program and for what it does that others do not.
"""

from __future__ import annotations

from fabric.trio_quic.connection import Connection
from fabric.trio_quic.endpoint import Endpoint, open_endpoint, open_endpoint_on
from fabric.trio_quic.errors import (
    ConnectionClosed,
    HandshakeTimeout,
    QuicError,
    StreamReset,
    StreamStopped,
)
from fabric.trio_quic.identity import Identity
from fabric.trio_quic.settings import INITIAL_CREDIT, Settings
from fabric.trio_quic.stream import Stream
from fabric.trio_quic.udp import Transport, UdpSocket, open_udp_socket

__all__ = [
    "INITIAL_CREDIT",
    "Connection",
    "ConnectionClosed",
    "Endpoint",
    "HandshakeTimeout",
    "Identity",
    "QuicError",
    "Settings",
    "Stream",
    "StreamReset",
    "StreamStopped",
    "Transport",
    "UdpSocket",
    "open_endpoint",
    "open_endpoint_on",
    "open_udp_socket",
]
