"""What a user of the driver may choose, each default with its reason."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, le

MIB = 1 << 20
KIB = 1 << 10

INITIAL_CREDIT = 64 * KIB
"""Bytes a peer may send on a fresh stream, fixed by the protocol: both ends must agree on it."""

UNLIMITED = (1 << 62) - 1
"""Beyond what any stream can carry (RFC 9000, 4.5)."""


@frozen(kw_only=True)
class Settings:
    """Sizes in bytes, times in seconds. Measured at 1452 bytes on loopback else it says so."""

    alpn: str = "fabric/1"
    """A peer that speaks another protocol is refused by TLS (0x178 or 0x128)."""

    max_datagram_bytes: int = field(default=1200, validator=[ge(1200), le(9000)])
    """UDP payload, for the life of a connection. 1200 passes everywhere; 1452 is a fifth faster on
    loopback but must fit *every* path, relays included: the engine cannot shrink it later."""

    idle_timeout: float = field(default=30.0, validator=ge(1.0))
    """Both ends' minimum counts. Lower finds a dead peer sooner and needs more keepalives."""

    keepalive: float = field(default=10.0, validator=ge(0.0))
    """A ping is sent after this long without a packet from the peer; 0 turns it off."""

    probe_interval: float = field(default=1.0, validator=ge(0.1))
    """Longest wait between probes while data is unacknowledged. The engine's own doubles without
    bound; lower finds the end of a hole sooner and costs a packet each time."""

    handshake_timeout: float = 5.0
    """How long a stranger may take from its first packet to :meth:`Connection.admit`."""

    max_streams: int = 65_536
    """Concurrent streams each way. Memory per idle one: a few kB with its reading task."""

    accept_backlog: int = 4096
    """Streams waiting for ``accept_stream``; one more is refused by reset: bounds a flood."""

    accept_connections: int = 256
    """Connections waiting for ``accept``; one more is closed as busy."""

    max_stream_credit: int = MIB
    """Ceiling of a stream's window on short paths (256 KiB 444, 512 KiB 569, 1 MiB 635, 2 MiB 656
    MB/s): what a reader that stalls may leave in memory."""

    max_stream_credit_far: int = 4 * MIB
    """The same where the round trip is over 5 ms: a stream's rate is at most window / RTT."""

    peer_credit: bool = True
    """Whether peers keep stream credit and mark a stream's end as we do. ``False``, for peers of
    another make, leaves the engine's own windows and :attr:`guard_bytes`: a stalled reader then
    loses its stream, and an end that is lost on the way may never arrive."""

    guard_bytes: int = 32 * MIB
    """Promised beyond :data:`INITIAL_CREDIT`, and unread, per connection. Past it the stream that
    has been unread the longest is reset: slow readers pay, never the connection."""

    engine_stream_window: int = 4 * MIB
    """The engine's own window per stream. Must never be the one that binds."""

    engine_window: int = 16 * MIB
    """The engine's own window per connection; bounds what a pass can put into its event queue."""

    unsent_high: int = 256 * KIB
    """``send_all`` waits above this many unsent bytes, and goes on at half of it."""

    packets_per_key: int = 1 << 22
    """A key update is asked for after so many packets: half of AES-GCM's limit (RFC 9001, 6.6)."""

    retry_above: int = 50
    """Handshakes in flight, above which strangers are answered by Retry; 0 turns Retry off."""

    retry_rate: int = 100
    """First packets a second, above which strangers are answered by Retry."""

    stranger_cap: int = 256
    """Connections not yet admitted; 0 turns the cap off. One costs about 40 kB."""

    stranger_cap_per_prefix: int = 8
    """The same per /32 (IPv4) or /64 (IPv6); loopback is exempt."""

    stranger_cap_known: int = 64
    """Room kept apart for addresses that ``Endpoint.exempt`` names."""

    stranger_bytes: int = 16 * KIB
    """Stream payload of a stranger until admitted; one more closes it. 0 turns the budget off."""

    doubtful_per_second: int = 100
    """Datagrams tried in vain of one source that is not the peer's; the rest is dropped unread.
    Tried, one costs 11.5 us; dropped, 6.5 us: it was read and routed all the same. 0 turns it
    off."""

    buffers_per_pass: int = 16
    """Reads per wake-up (1: 463, 4: 590, 16: 635, 64: 620 MB/s); also bounds a pass's length."""

    runs_per_flush: int = 4
    """System calls per connection and pass (90 datagrams: 358, 128: 434, 184: 456 MB/s)."""

    socket_buffer_bytes: int = 4 * MIB
    """Asked of the kernel, which clips it to ``net.core.rmem_max`` unless we may force it."""

    @property
    def initial_credit(self) -> int:
        """Bytes that either end may send on a fresh stream."""
        return INITIAL_CREDIT if self.peer_credit else UNLIMITED
