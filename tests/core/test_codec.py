"""Frames on the wire: frozen bytes, every slicing, exact types and sizes."""

import json
from pathlib import Path

import attrs
import msgpack
import pytest

from fabric.codes import Code
from fabric.core.codec import MAX_FRAME, FrameReader, decode, encode
from fabric.core.frames import KNOWN, Accepted, Frame, Hello, Open
from fabric.errors import RemoteProtocolError
from fabric.testing.factories import a_frame, some_frames

VECTORS = Path(__file__).parent.parent / "vectors"
LENGTH = 4

every_frame = pytest.mark.parametrize("frame", some_frames(), ids=lambda f: type(f).__name__)


def framed(*content: object) -> bytes:
    body = msgpack.packb(list(content))
    return len(body).to_bytes(LENGTH, "big") + body


def fields_of(frame: Frame) -> dict[str, object]:
    return msgpack.unpackb(encode(frame)[LENGTH:])[2]


FROZEN = json.loads((VECTORS / "frames.json").read_text())


def test_every_type_has_a_vector() -> None:
    assert {name: kind.TYPE for name, kind in _by_name().items()} == FROZEN["types"]
    assert FROZEN["bytes"].keys() == _by_name().keys()
    assert all(FROZEN["bytes"].values())


@pytest.mark.parametrize("kind", KNOWN.values(), ids=lambda kind: kind.__name__)
def test_the_wire_format_is_frozen(kind: type[Frame]) -> None:
    frames = [each for each in some_frames() if type(each) is kind]
    vectors = [bytes.fromhex(each) for each in FROZEN["bytes"][kind.__name__]]

    assert [encode(each) for each in frames] == vectors
    assert [decode(each[LENGTH:]) for each in vectors] == frames


@pytest.mark.parametrize("kind", KNOWN.values(), ids=lambda kind: kind.__name__)
def test_the_vectors_fill_every_field_with_something_else_than_its_default(
    kind: type[Frame],
) -> None:
    filled = {name for each in some_frames() if type(each) is kind for name in fields_of(each)}

    assert filled == {each.name for each in attrs.fields(kind)}


def test_a_field_that_has_its_default_is_left_out_and_means_the_same_if_it_is_not() -> None:
    assert fields_of(Accepted()) == {}
    assert decode(framed(33, 0, {"offset": 0, "load": 0})[LENGTH:]) == Accepted()


def test_the_numbers_of_codes_are_frozen() -> None:
    frozen = json.loads((VECTORS / "codes.json").read_text())

    assert {code.label: code.value for code in Code} == frozen, "add a new code to the vector"


def _by_name() -> dict[str, type[Frame]]:
    return {kind.__name__: kind for kind in KNOWN.values()}


@every_frame
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_frames_are_read_whole_however_they_were_sliced(frame: Frame, size: int) -> None:
    wire = encode(frame) * 3
    reader, read = FrameReader(), []
    for at in range(0, len(wire), size):
        reader.feed(wire[at : at + size])
        while (each := reader.next_frame()) is not None:
            read.append(each)

    assert read == [frame] * 3
    assert reader.is_between_frames


def test_what_follows_the_last_frame_is_given_back_untouched() -> None:
    reader = FrameReader()
    reader.feed(encode(Accepted()) + b"220 ready\r\n")

    assert reader.next_frame() == Accepted()
    assert reader.rest() == b"220 ready\r\n"
    assert reader.rest() == b""


def test_half_a_frame_is_not_between_frames() -> None:
    reader = FrameReader()
    reader.feed(encode(Accepted())[:-1])

    assert reader.next_frame() is None
    assert not reader.is_between_frames


def test_a_field_of_a_newer_release_is_ignored() -> None:
    hello = a_frame(Hello)

    assert decode(framed(2, 0, {**fields_of(hello), "haste": {"v": 2}})[LENGTH:]) == hello


def test_an_unknown_optional_frame_is_skipped() -> None:
    reader = FrameReader()
    reader.feed(framed(999, 1, {"probe": 1}) + encode(Accepted()))

    assert reader.next_frame() == Accepted()


def test_an_unknown_frame_that_is_not_optional_ends_the_conversation() -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        decode(framed(999, 0, {})[LENGTH:])

    assert raised.value.code is Code.UNEXPECTED_FRAME


def test_a_frame_over_the_limit_is_refused_by_its_length_alone() -> None:
    reader = FrameReader(limit=100)
    reader.feed((101).to_bytes(LENGTH, "big"))

    with pytest.raises(RemoteProtocolError) as raised:
        reader.next_frame()
    assert raised.value.code is Code.MALFORMED_FRAME


OPEN = fields_of(a_frame(Open))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param((32, 0), id="no-map"),
        pytest.param((32, 0, OPEN, 0), id="four-items"),
        pytest.param((32, 0, [1]), id="list-for-map"),
        pytest.param((True, 0, {}), id="bool-for-type"),
        pytest.param((32.0, 0, OPEN), id="float-for-type"),
        pytest.param((32, 0, {**OPEN, "service": b"demo"}), id="bytes-for-text"),
        pytest.param((32, 0, {**OPEN, "service": ""}), id="empty-text"),
        pytest.param((32, 0, {**OPEN, "service": "a\x1b[2J"}), id="terminal-escape"),
        pytest.param((32, 0, {**OPEN, "service": "x" * 65}), id="text-too-long"),
        pytest.param((32, 0, {**OPEN, "deadline": True}), id="bool-for-number"),
        pytest.param((32, 0, {**OPEN, "deadline": "5"}), id="text-for-number"),
        pytest.param((32, 0, {**OPEN, "deadline": 0}), id="number-too-small"),
        pytest.param((32, 0, {**OPEN, "deadline": -1}), id="negative"),
        pytest.param((32, 0, {**OPEN, "channel_id": b"x" * 15}), id="short-id"),
        pytest.param((32, 0, {k: v for k, v in OPEN.items() if k != "service"}), id="missing"),
        pytest.param((2, 0, {**fields_of(a_frame(Hello)), "versions": [1]}), id="one-version"),
        pytest.param((2, 0, {**fields_of(a_frame(Hello)), "wants_record": 1}), id="1-for-true"),
    ],
)
def test_anything_but_exact_types_and_sizes_is_malformed(content: tuple[object, ...]) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        decode(framed(*content)[LENGTH:])

    assert raised.value.code is Code.MALFORMED_FRAME


def test_a_key_that_stands_twice_is_malformed() -> None:
    body = b"\x93\x21\x00\x82" + b"\xa4load\x01" + b"\xa4load\x02"

    with pytest.raises(RemoteProtocolError, match="twice"):
        decode(body)


def test_bytes_after_the_array_are_malformed() -> None:
    with pytest.raises(RemoteProtocolError):
        decode(encode(Accepted())[LENGTH:] + b"\0")


def test_deep_nesting_is_malformed_not_a_crash() -> None:
    with pytest.raises(RemoteProtocolError):
        decode(b"\x91" * 100_000)


def test_a_reader_holds_no_more_than_one_frame_beyond_what_it_was_fed() -> None:
    reader = FrameReader()
    reader.feed(MAX_FRAME.to_bytes(LENGTH, "big") + bytes(100))

    assert reader.next_frame() is None
    assert len(reader.rest()) == LENGTH + 100
