"""What a datagram's first bytes say: frozen examples, and no opinion on noise but a safe one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.trio_quic import routing

CID = b"12345678"
SHORT = b"\x40" + CID + bytes(20)
INITIAL = b"\xc3\x00\x00\x00\x01\x08" + CID + b"\x08abcdefgh" + bytes(1180)


def test_a_short_header_names_its_connection_in_bytes_1_to_8():
    assert routing.destination(SHORT) == CID
    assert routing.is_short(SHORT)


def test_a_long_header_names_its_connection_by_length():
    assert routing.destination(INITIAL) == CID
    assert not routing.is_short(INITIAL)


def test_a_full_sized_initial_begins_a_connection():
    assert routing.begins_connection(INITIAL)


@pytest.mark.parametrize(
    "datagram",
    [
        INITIAL[:1199],
        b"\xe3" + INITIAL[1:],  # Handshake
        b"\xd3" + INITIAL[1:],  # 0-RTT
        b"\xf3" + INITIAL[1:],  # Retry
        INITIAL[:4] + b"\x02" + INITIAL[5:],
        INITIAL[:5] + b"\x07" + INITIAL[6:],  # too easy to guess (RFC 9000, 7.2)
        INITIAL[:5] + b"\x15" + INITIAL[6:],  # longer than any (17.2)
        b"\x83" + INITIAL[1:],
        SHORT + bytes(1200),
    ],
)
def test_nothing_else_begins_a_connection(datagram):
    assert not routing.begins_connection(datagram)


@pytest.mark.parametrize(
    "version", [b"\x00\x00\x00\x00", b"\x6b\x33\x43\xcf", b"\x0a\x1a\x2a\x3a"]
)
def test_no_other_version_is_spoken(version):
    assert routing.destination(INITIAL[:1] + version + INITIAL[5:]) is None


@pytest.mark.parametrize("first", [0x80, 0x8F, 0xA0, 0xBF])
def test_a_clear_fixed_bit_is_no_packet_of_ours(first):
    assert not routing.is_foreign(first)
    assert routing.destination(bytes([first]) + INITIAL[1:]) is None


def test_first_bytes_below_0x40_are_foreign():
    assert [first for first in range(256) if routing.is_foreign(first)] == list(range(0x40))


@given(datagram=st.binary(min_size=1, max_size=64))
def test_noise_is_routed_or_dropped_and_never_raises(datagram):
    cid = routing.destination(datagram)
    assert cid is None or cid in datagram
    assert not routing.begins_connection(datagram)
    assert routing.is_foreign(datagram[0]) + routing.is_short(datagram) < 2


@given(datagram=st.binary(min_size=21, max_size=21))
def test_whatever_is_shorter_than_a_packet_is_dropped(datagram):
    assert routing.destination(datagram[:20]) is None


@given(st.lists(st.sampled_from([CID, b"87654321"]), min_size=2, max_size=60), st.data())
def test_a_run_is_one_connections_only_if_every_segment_is(owners, data):
    size = data.draw(st.integers(21, 60))
    last = data.draw(st.integers(21, size))
    run = b"".join((b"\x40" + owner + bytes(60))[:size] for owner in owners[:-1])
    run += (b"\x40" + owners[-1] + bytes(60))[:last]
    expected = owners[0] if len(set(owners)) == 1 else None
    assert routing.common_destination(run, size) == expected


@given(at=st.integers(0, 39), first=st.sampled_from([0x00, 0x3F, 0x80, 0xC3]))
def test_one_segment_that_is_no_short_packet_breaks_a_run(at, first):
    run = bytearray((b"\x40" + CID + bytes(16)) * 40)
    run[at * 25] = first
    assert routing.common_destination(bytes(run), 25) is None


@given(tail=st.integers(1, 8))
def test_a_last_segment_without_a_whole_connection_id_breaks_a_run(tail):
    run = (b"\x40" + CID + bytes(16)) * 40
    assert routing.common_destination(run + (b"\x40" + CID)[:tail], 25) is None
    assert routing.common_destination(run + b"\x00" * tail, 25) is None
