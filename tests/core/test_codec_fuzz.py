"""No bytes raise anything but a coded error out of a decoder, and what is taken was written so.

``make fuzz`` runs the same with a million inputs: ``FABRIC_FUZZ`` says how many, in all.
"""

import json
import os
from contextlib import suppress

import attrs
import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core.codec import FrameReader, decode, encode
from fabric.core.codec.envelopes import (
    envelope_from_json,
    envelope_to_json,
    pack_envelope,
    unpack_envelope,
)
from fabric.core.codec.records import decode_record, encode_record
from fabric.core.frames import KNOWN
from fabric.core.kinds import KINDS
from fabric.core.records import MOST_BYTES, Opaque
from fabric.errors import RecordError, RemoteProtocolError
from fabric.testing.factories import some_frames
from fabric.testing.records import AFabric, later_payloads, some_bare_records, some_records


def read_frames(wire):
    """As a stream is read: cut into frames, each of which is decoded."""
    reader = FrameReader()
    reader.feed(wire)
    while reader.next_frame() is not None:
        pass


def read_file(raw):
    envelope_from_json(raw.decode("latin-1"))


FABRIC = AFabric()
WIRES = [encode(each) for each in some_frames()]
PAYLOADS = [
    *(encode_record(each) for each in (*some_records(FABRIC), *some_bare_records(FABRIC))),
    *later_payloads(FABRIC).values(),
]
ENVELOPES = [FABRIC.signed(each) for each in some_bare_records(FABRIC)]
READERS = {
    "frames": (read_frames, WIRES),
    "frame": (decode, [each[4:] for each in WIRES]),
    "record": (decode_record, PAYLOADS),
    "envelope": (unpack_envelope, [pack_envelope(each) for each in ENVELOPES]),
    "file": (read_file, [envelope_to_json(each).encode() for each in ENVELOPES]),
}

TESTS = 2 * len(READERS) + 6
"""Of those below that draw: each gets its share."""

fuzzed = settings(
    max_examples=max(int(os.environ.get("FABRIC_FUZZ", "1600")) // TESTS, 1),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

CODES = {
    Code.MALFORMED_FRAME,
    Code.UNEXPECTED_FRAME,
    Code.RECORD_MALFORMED,
    Code.RECORD_NOT_CANONICAL,
    Code.RECORD_TOO_LARGE,
}


def refusal(read, raw):
    """Return the coded error that *read* raises for *raw*, if any; let any other one through."""
    try:
        read(raw)
    except (RecordError, RemoteProtocolError) as error:
        return error
    return None


def survives(read, raw):
    error = refusal(read, raw)
    assert error is None or error.code in CODES
    assert len(str(error)) < 400, "a peer's bytes do not fill a log"


@pytest.mark.parametrize("name", READERS)
@fuzzed
@given(raw=st.binary(max_size=400))
def test_no_bytes_raise_anything_else(name, raw):
    survives(READERS[name][0], raw)


@st.composite
def mutated(draw, samples):
    """A real one with a few bytes changed, and perhaps a piece cut out or doubled."""
    raw = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(raw) - 1)) if raw else 0
        match draw(st.sampled_from("=======-+")):
            case "=":
                raw[at : at + 1] = draw(st.binary(min_size=1, max_size=2))
            case "-":
                del raw[at : at + draw(st.integers(1, 40))]
            case "+":
                raw[at:at] = raw[at : at + draw(st.integers(1, 40))]
    return bytes(raw)


@pytest.mark.parametrize("name", READERS)
@fuzzed
@given(data=st.data())
def test_no_mutation_of_a_real_one_raises_anything_else(name, data):
    read, samples = READERS[name]
    survives(read, data.draw(mutated(samples)))


# -- well-formed, with anything inside --
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=70)
)


def nested(leaves, names):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )


packed = nested(scalars | st.binary(max_size=70) | st.binary(min_size=64, max_size=64), st.text())
FRAME_FIELDS = sorted({each.name for kind in KNOWN.values() for each in attrs.fields(kind)})


@fuzzed
@given(
    st.sampled_from(sorted(KNOWN)) | packed,
    st.integers(0, 3) | packed,
    st.dictionaries(st.sampled_from(FRAME_FIELDS), packed) | packed,
)
def test_no_well_formed_msgpack_raises_anything_else(kind, flags, fields):
    raw = msgpack.packb([kind, flags, fields])
    survives(decode, raw)
    survives(unpack_envelope, raw)


# -- records, field by field --
PLAIN = [json.loads(each) for each in PAYLOADS]
NAMES = sorted({name for each in PLAIN for name in each} | {"zeal"})
values = nested(
    scalars
    | st.integers(-2, 9)
    | st.integers(2**53 - 2, 2**53 + 1)
    | st.sampled_from([*KINDS, "public", "active", "root", FABRIC.node_id("home-1"), "any"])
    | st.sampled_from(["00" * 16, "0A" * 16, "ff" * 32, "7" * 64]),
    st.sampled_from([*NAMES, "address", "key", "state", "threshold", "url"]) | st.text(),
)


def spelled(plain):
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


@st.composite
def altered(draw):
    """A real record as JSON with some values, at any depth, replaced, added or left out."""
    plain = json.loads(json.dumps(draw(st.sampled_from(PLAIN))))
    for _ in range(draw(st.integers(1, 3))):
        place = _some_place(draw, plain)
        if isinstance(place, dict):
            name = draw(st.sampled_from(sorted(place) or NAMES) | st.sampled_from(NAMES))
            place.pop(name, None)
            if draw(st.booleans()):
                place[name] = draw(values)
        else:
            place[: draw(st.integers(0, 1))] = draw(st.lists(values, max_size=2))
    return plain


def _some_place(draw, plain):
    while draw(st.booleans()):
        items = [plain[name] for name in sorted(plain)] if isinstance(plain, dict) else plain
        inner = [each for each in items if isinstance(each, dict | list)]
        if not inner:
            break
        plain = draw(st.sampled_from(inner))
    return plain


@fuzzed
@given(altered())
def test_a_record_is_taken_only_where_every_known_field_is_what_was_written(plain):
    payload = spelled(plain)
    if error := refusal(decode_record, payload):
        assert error.code in {Code.RECORD_MALFORMED, Code.RECORD_TOO_LARGE}
        return
    record = decode_record(payload)
    if isinstance(record, Opaque):
        assert record.key == (plain["kind"], plain["subject"])
        assert plain["v"] > 1 or plain["kind"] not in KINDS or plain.get("crit")
    else:
        again = encode_record(record)
        assert decode_record(again) == record
        assert _is_within(json.loads(again), plain)


def _is_within(written, read):
    """Whether *read* says all that *written* does, to the type; it may say more besides."""
    if type(written) is not type(read):
        return False
    match written:
        case dict():
            return all(name in read and _is_within(written[name], read[name]) for name in written)
        case list():
            return len(written) == len(read) and all(map(_is_within, written, read))
    return written == read


@pytest.mark.parametrize(
    ("written", "read"),
    [({"a": 1}, {}), ({"a": 1}, {"a": True}), ([1], [1, 2]), ({"a": [1]}, {"a": ["1"]}), (1, 1.0)],
)
def test_what_was_read_as_something_else_would_be_noticed(written, read):
    assert not _is_within(written, read)


@fuzzed
@given(values)
def test_no_canonical_json_raises_anything_else(plain):
    survives(decode_record, spelled(plain))
    survives(read_file, spelled(plain))


@fuzzed
@given(st.dictionaries(st.sampled_from(["payload", "payloadType", "signatures"]), values))
def test_no_json_of_a_file_raises_anything_else(plain):
    survives(read_file, json.dumps(plain).encode())


# -- size and depth, whatever they are made of --
@fuzzed
@given(
    st.sampled_from(
        [b"[", b'{"a":', b'"', b"\\", b"9", b"-", b"\x91", b"\x81\xa1a", b"\xdd\0\0\0\1"]
    ),
    st.integers(0, MOST_BYTES + 9),
)
def test_no_heap_of_one_thing_raises_anything_else(piece, size):
    raw = piece * (size // len(piece))
    for read, _samples in READERS.values():
        survives(read, raw)


@fuzzed
@given(st.sampled_from(some_frames()), st.binary(max_size=60), st.integers(1, 40))
def test_what_follows_a_whole_frame_never_changes_it(frame, behind, size):
    reader, wire = FrameReader(), encode(frame) + behind
    read = []
    with suppress(RemoteProtocolError):
        for at in range(0, len(wire), size):
            reader.feed(wire[at : at + size])
            while (each := reader.next_frame()) is not None:
                read.append(each)

    assert read[0] == frame
