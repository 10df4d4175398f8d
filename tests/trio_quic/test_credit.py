"""Credit by itself: varints, grants in any pieces, and what a window may grow to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.trio_quic.credit import (
    FLOOR,
    GrantReader,
    decode_varint,
    encode_grant,
    encode_varint,
    next_window,
)
from fabric.trio_quic.settings import INITIAL_CREDIT, Settings

varints = st.integers(0, (1 << 62) - 1)
grants = st.tuples(varints, varints, varints)
windows = st.integers(INITIAL_CREDIT, 4 << 20)


def test_varints_are_those_of_rfc_9000():
    # the examples of its appendix A.1
    assert encode_varint(151_288_809_941_952_652) == bytes.fromhex("c2197c5eff14e88c")
    assert encode_varint(494_878_333) == bytes.fromhex("9d7f3e7d")
    assert encode_varint(15_293) == bytes.fromhex("7bbd")
    assert encode_varint(37) == bytes.fromhex("25")
    assert decode_varint(bytes.fromhex("4025"), 0) == (37, 2)


@given(varints, st.binary(max_size=9))
def test_a_varint_survives_its_encoding(value, rest):
    encoded = encode_varint(value)
    assert decode_varint(encoded + rest, 0) == (value, len(encoded))
    assert decode_varint(encoded[:-1], 0) is None


@given(st.lists(grants, max_size=20), st.data())
def test_grants_arrive_whole_in_any_pieces(sent, data):
    wire = b"".join(encode_grant(*grant) for grant in sent)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=12).map(sorted))
    reader = GrantReader()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        received += reader.receive(wire[start:end])
    assert received == sent


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_noise_on_the_credit_stream_makes_grants_or_waits(pieces):
    reader = GrantReader()
    for piece in pieces:
        assert all(len(grant) == 3 for grant in reader.receive(piece))
    assert len(reader._rest) < 3 * 8


@given(window=windows, promised=st.integers(0, 64 << 20), far=st.booleans())
def test_the_window_of_a_reader_that_falls_behind_stays(window, promised, far):
    limits = Settings()
    assert next_window(window, kept_up=False, promised=promised, far=far, limits=limits) == window


@given(window=windows, promised=st.integers(0, 64 << 20), far=st.booleans())
def test_a_window_at_most_doubles_and_keeps_its_bounds(window, promised, far):
    limits = Settings()
    grown = next_window(window, kept_up=True, promised=promised, far=far, limits=limits)
    ceiling = limits.max_stream_credit_far if far else limits.max_stream_credit
    assert INITIAL_CREDIT <= grown <= min(2 * window, ceiling)
    if promised >= limits.guard_bytes:
        assert grown <= FLOOR


@given(far=st.lists(st.booleans(), min_size=1, max_size=400))
def test_what_readers_are_promised_stays_under_the_guard(far):
    """Every stream asks for all it can get; the floors apart, the sum is bounded."""
    limits = Settings()
    promised = 0
    for is_far in far:
        window = INITIAL_CREDIT
        for _ in range(8):
            window = next_window(
                window, kept_up=True, promised=promised, far=is_far, limits=limits
            )
        promised += window - INITIAL_CREDIT
    assert promised <= limits.guard_bytes + len(far) * (FLOOR - INITIAL_CREDIT)


def test_a_lone_reader_that_keeps_up_gets_the_whole_ceiling():
    limits = Settings()
    window = INITIAL_CREDIT
    for _ in range(8):
        window = next_window(window, kept_up=True, promised=0, far=True, limits=limits)
    assert window == limits.max_stream_credit_far
