"""Envelopes: what is signed, by whom, and the same thing packed and as a file."""

import base64
import json
from pathlib import Path

import msgpack
import pytest

from fabric.codes import Code
from fabric.core.codec.envelopes import (
    envelope_from_json,
    envelope_to_json,
    pack_envelope,
    unpack_envelope,
)
from fabric.core.codec.records import decode_record, encode_record
from fabric.core.envelope import (
    MOST_PAYLOAD,
    MOST_SIGNATURES,
    RECORD_TYPE,
    Envelope,
    Signature,
    pae,
)
from fabric.core.frames import MOST_ENVELOPE
from fabric.core.records import KeyId, Role
from fabric.errors import RecordError
from fabric.testing.records import AFabric, a_key_of, id_of, later_payloads, public, signed

FROZEN = json.loads((Path(__file__).parent.parent / "vectors" / "records.json").read_text())
FABRIC = AFabric()
DIRECTORY = FABRIC.keys(Role.DIRECTORY)
ENVELOPE = signed(FABRIC.node("home-1"), *DIRECTORY)
VALUE = b"s" * 64

of_every_sort = pytest.mark.parametrize("name", sorted(FROZEN["envelopes"]))


def refused(read, raw):
    with pytest.raises(RecordError) as raised:
        read(raw)
    return raised.value.code


# -- signatures --
def test_the_length_of_each_part_stands_before_it_in_what_is_signed():
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_the_signature_of_each_signer_is_good_and_nobody_elses():
    for key in DIRECTORY:
        assert ENVELOPE.signed_by(public(key))
    assert not ENVELOPE.signed_by(public(a_key_of("nobody")))


def test_a_signature_covers_the_payload_and_its_type():
    key = public(DIRECTORY[0])
    payload, signatures = ENVELOPE.payload, ENVELOPE.signatures

    assert Envelope(payload, signatures).signed_by(key)
    assert not Envelope(payload.replace(b"home-1", b"home-2"), signatures).signed_by(key)
    assert not Envelope(payload, signatures, "text/plain").signed_by(key)


def test_a_key_signs_once_however_often_it_is_asked():
    again = ENVELOPE.with_signature(public(DIRECTORY[0]), lambda _message: VALUE)

    assert len(again.signatures) == len(ENVELOPE.signatures)
    assert not again.signed_by(public(DIRECTORY[0]))
    assert again.signed_by(public(DIRECTORY[1]))


def test_a_record_is_the_same_whoever_else_signs_it_and_its_verdict_is_not():
    fewer = signed(FABRIC.node("home-1"), DIRECTORY[0])

    assert fewer.digest == ENVELOPE.digest
    assert fewer.verdict_key != ENVELOPE.verdict_key


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Envelope(b"", ENVELOPE.signatures), id="empty"),
        pytest.param(lambda: Envelope(bytes(MOST_PAYLOAD + 1), ENVELOPE.signatures), id="large"),
        pytest.param(lambda: Envelope(b"x", ()), id="unsigned"),
        pytest.param(
            lambda: Envelope(b"x", ENVELOPE.signatures[:1] * (MOST_SIGNATURES + 1)), id="many"
        ),
        pytest.param(lambda: Signature(KeyId("k"), VALUE[:-1]), id="short-signature"),
        pytest.param(lambda: Signature(KeyId(""), VALUE), id="nameless"),
    ],
)
def test_an_envelope_has_a_payload_and_one_to_sixteen_signatures(make):
    with pytest.raises(ValueError, match=r"is not|not a"):
        make()


# -- packed, and as a file --
@of_every_sort
def test_both_forms_are_frozen_and_mean_the_same(name):
    packed = bytes.fromhex(FROZEN["envelopes"][name]["packed"])
    text = FROZEN["envelopes"][name]["json"]

    assert unpack_envelope(packed) == envelope_from_json(text)
    assert pack_envelope(envelope_from_json(text)) == packed
    assert envelope_to_json(unpack_envelope(packed)) == text


@of_every_sort
def test_the_frozen_signatures_are_good(name):
    envelope = envelope_from_json(FROZEN["envelopes"][name]["json"])
    keys = [key for role in Role for key in FABRIC.keys(role)] + [FABRIC.node_key("home-1")]
    by_id = {id_of(key): public(key) for key in keys}

    for signature in envelope.signatures:
        assert envelope.signed_by(by_id[signature.key_id])


def test_the_payload_comes_out_exactly_as_it_was_signed():
    payload = later_payloads()["a field"]
    envelope = signed(payload, *DIRECTORY)

    assert unpack_envelope(pack_envelope(envelope)).payload == payload
    assert envelope_from_json(envelope_to_json(envelope)).payload == payload
    assert encode_record(decode_record(payload)) != payload


def test_the_usual_type_is_left_out_of_what_is_packed():
    assert len(msgpack.unpackb(pack_envelope(ENVELOPE))) == 2
    assert RECORD_TYPE.encode() not in pack_envelope(ENVELOPE)


def test_the_largest_envelope_fits_a_frame():
    signatures = tuple(Signature(KeyId("k" * 64), VALUE) for _ in range(MOST_SIGNATURES))
    envelope = Envelope(bytes(MOST_PAYLOAD), signatures, "t" * 128)

    assert len(pack_envelope(envelope)) <= MOST_ENVELOPE
    assert unpack_envelope(pack_envelope(envelope)) == envelope
    assert envelope_from_json(envelope_to_json(envelope)) == envelope


PAIR = ["k", VALUE]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(7, id="number"),
        pytest.param({}, id="map"),
        pytest.param([b"x"], id="payload-alone"),
        pytest.param([b"x", [PAIR], RECORD_TYPE], id="usual-type-said"),
        pytest.param([b"x", [PAIR], "text/plain", 0], id="four-items"),
        pytest.param([b"x", [PAIR], b"text/plain"], id="bytes-for-type"),
        pytest.param([b"x", [PAIR], ""], id="empty-type"),
        pytest.param([b"x", [PAIR], "a\x1b[2J"], id="terminal-escape-in-type"),
        pytest.param(["x", [PAIR]], id="text-for-payload"),
        pytest.param([b"", [PAIR]], id="empty-payload"),
        pytest.param([b"x", []], id="unsigned"),
        pytest.param([b"x", {"k": VALUE}], id="map-of-signatures"),
        pytest.param([b"x", ["kv"]], id="text-for-a-pair"),
        pytest.param([b"x", [7]], id="number-for-a-pair"),
        pytest.param([b"x", [["k"]]], id="key-alone"),
        pytest.param([b"x", [["k", VALUE, 0]]], id="three-in-a-pair"),
        pytest.param([b"x", [[b"k", VALUE]]], id="bytes-for-key-id"),
        pytest.param([b"x", [["k", VALUE.decode()]]], id="text-for-signature"),
        pytest.param([b"x", [["k", VALUE[:-1]]]], id="short-signature"),
        pytest.param([b"x", [PAIR] * (MOST_SIGNATURES + 1)], id="too-many-signatures"),
    ],
)
def test_anything_but_exact_types_and_sizes_is_malformed(content):
    assert refused(unpack_envelope, msgpack.packb(content)) is Code.RECORD_MALFORMED


def test_a_payload_larger_than_any_record_is_too_large():
    packed = msgpack.packb([bytes(MOST_PAYLOAD + 1), [PAIR]])
    assert refused(unpack_envelope, packed) is Code.RECORD_TOO_LARGE


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        pack_envelope(ENVELOPE)[:-1],
        pack_envelope(ENVELOPE) + b"\0",
        b"\x91" * 70_000,
    ],
    ids=["empty", "no-such-type", "cut", "more-behind", "deep"],
)
def test_what_is_not_one_whole_array_is_malformed(raw):
    assert refused(unpack_envelope, raw) is Code.RECORD_MALFORMED


def test_what_is_too_large_is_refused_before_it_is_read():
    assert refused(unpack_envelope, bytes(MOST_ENVELOPE + 1)) is Code.RECORD_TOO_LARGE
    assert refused(envelope_from_json, " " * 200_000) is Code.RECORD_TOO_LARGE


PLAIN = json.loads(envelope_to_json(ENVELOPE))
SIGNED = PLAIN["signatures"][0]


def test_a_file_is_what_dsse_says():
    assert PLAIN.keys() == {"payload", "payloadType", "signatures"}
    assert SIGNED.keys() == {"keyid", "sig"}
    assert base64.b64decode(PLAIN["payload"]) == ENVELOPE.payload


def test_a_file_may_use_the_other_alphabet_of_base64_and_fields_of_its_own():
    envelope = signed(b"\xfb\xff\xfe", *DIRECTORY)
    plain = json.loads(envelope_to_json(envelope)) | {"comment": "by hand"}
    plain["payload"] = plain["payload"].translate({ord("+"): "-", ord("/"): "_"})

    assert plain["payload"] == "-__-"
    assert envelope_from_json(json.dumps(plain)) == envelope


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("7", id="number"),
        pytest.param("[]", id="list"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("9" * 10_000, id="huge"),
        pytest.param(json.dumps(PLAIN).replace("{", '{"payload":"eA==",', 1), id="key-twice"),
        *(
            pytest.param(
                json.dumps({k: v for k, v in PLAIN.items() if k != name}), id=f"no-{name}"
            )
            for name in PLAIN
        ),
        *(
            pytest.param(json.dumps(PLAIN | fields), id=name)
            for name, fields in {
                "number-for-payload": {"payload": 7},
                "no-base64": {"payload": "e*A=="},
                "base64-cut": {"payload": "eA"},
                "number-for-type": {"payloadType": 7},
                "object-for-signatures": {"signatures": {}},
                "unsigned": {"signatures": []},
                "list-for-signature": {"signatures": [["k", "s"]]},
                "null-for-signature": {"signatures": [None]},
                "no-keyid": {"signatures": [{"sig": SIGNED["sig"]}]},
                "no-sig": {"signatures": [{"keyid": SIGNED["keyid"]}]},
                "number-for-keyid": {"signatures": [{**SIGNED, "keyid": 7}]},
                "number-for-sig": {"signatures": [{**SIGNED, "sig": 7}]},
                "short-sig": {"signatures": [{**SIGNED, "sig": "eA=="}]},
                "half-a-surrogate": {"signatures": [{**SIGNED, "keyid": "\ud800"}]},
            }.items()
        ),
    ],
)
def test_a_file_that_is_no_envelope_is_malformed(text):
    assert refused(envelope_from_json, text) is Code.RECORD_MALFORMED
