"""The driver's ends in the fabric's words."""

import pytest

from fabric import trio_quic
from fabric.codes import Code
from fabric.runtime.closing import code_of, code_of_close, reason_for
from fabric.trio_quic import ConnectionClosed, StreamReset, StreamStopped, codes


def closed(code, reason="", *, is_transport=False):
    return ConnectionClosed(code, reason, by_peer=True, is_transport=is_transport)


def test_the_drivers_numbers_are_mirrored_name_by_name():
    theirs = {
        name: number
        for name, number in vars(codes).items()
        if name.isupper() and type(number) is int
    }

    assert theirs
    assert theirs == {name: Code[name].value for name in theirs}


def test_the_label_in_the_reason_goes_before_the_number():
    """An application code in the first flight arrives as a transport code, with its reason."""
    early = closed(0x0C, reason_for(Code.UNKNOWN_KEY, "who are you"), is_transport=True)

    assert code_of_close(early) is Code.UNKNOWN_KEY


def test_a_transport_code_is_no_number_of_ours():
    assert code_of_close(closed(20, "crypto error", is_transport=True)) is Code.INTERNAL_ERROR


def test_a_number_of_a_newer_release_promises_nothing():
    assert code_of_close(closed(60_000)) is Code.INTERNAL_ERROR
    assert code_of(StreamReset(60_000)) is Code.INTERNAL_ERROR


@pytest.mark.parametrize("code", [Code.REPLACED, Code.SHUTTING_DOWN, Code.PEER_SILENT])
def test_an_end_that_says_what_became_of_the_peer_breaks_channels_with_its_code(code):
    assert code_of(closed(code)) is code


@pytest.mark.parametrize("code", [Code.MALFORMED_FRAME, Code.FLOW_CONTROL, Code.PEER_LOST])
def test_any_other_end_of_the_connection_is_a_lost_peer_to_its_channels(code):
    assert code_of(closed(code)) is Code.PEER_LOST


def test_a_streams_own_code_is_the_channels():
    assert code_of(StreamReset(Code.QUOTA_EXCEEDED)) is Code.QUOTA_EXCEEDED
    assert code_of(StreamStopped(Code.CLIENT_GONE)) is Code.CLIENT_GONE


def test_every_error_of_the_driver_is_one_that_channels_translate():
    kinds = [getattr(trio_quic, name) for name in trio_quic.__all__]
    errors = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)]

    assert len(errors) >= 5
    assert all(issubclass(error, trio_quic.QuicError) for error in errors)


def test_a_stream_that_is_reset_is_never_done():
    """Whoever resets with "it ended normally" may not make half a transfer look whole."""
    assert code_of(StreamReset(Code.DONE)) is Code.INTERNAL_ERROR
    assert code_of(StreamStopped(Code.DONE)) is Code.DONE
