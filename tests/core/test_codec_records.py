"""Records as they are signed: one spelling each, frozen, and room for later releases."""

import json
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core import records, update_records
from fabric.core.codec.records import decode_record, encode_record
from fabric.core.kinds import KINDS
from fabric.core.records import (
    MOST_BYTES,
    MOST_OWN_BYTES,
    NODE,
    EndpointRecord,
    Key,
    NodeRecord,
    Opaque,
    OwnWord,
    Record,
    Role,
)
from fabric.errors import LocalProtocolError, RecordError
from fabric.testing.records import (
    AFabric,
    later_payloads,
    payload_with,
    some_bare_records,
    some_records,
)

FROZEN = json.loads((Path(__file__).parent.parent / "vectors" / "records.json").read_text())
HOME = AFabric().node("home-1", labels={"tier": "gold"}, roles=("egress",))
ENDPOINT = AFabric().endpoint("home-1", "192.0.2.7:4433", probe_key=b"x" * 32)
OFFERS = AFabric().offers("home-1", "demo")
POLICY = AFabric().policy()
ROOT = AFabric().root()


def kind_of(record):
    return record.KIND


def spelled(plain):
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def refused(payload):
    with pytest.raises(RecordError) as raised:
        decode_record(payload)
    return raised.value.code


# -- one spelling --
def test_every_kind_has_vectors():
    assert FROZEN["full"].keys() == FROZEN["bare"].keys() == KINDS.keys()


@pytest.mark.parametrize("record", some_records(), ids=kind_of)
def test_the_spelling_of_a_record_with_every_field_is_frozen(record):
    payload = FROZEN["full"][record.KIND].encode()

    assert encode_record(record) == payload
    assert decode_record(payload) == record


@pytest.mark.parametrize("record", some_bare_records(), ids=kind_of)
def test_the_spelling_of_a_record_with_defaults_is_frozen(record):
    payload = FROZEN["bare"][record.KIND].encode()

    assert encode_record(record) == payload
    assert decode_record(payload) == record


@pytest.mark.parametrize("record", some_records(), ids=kind_of)
def test_the_vectors_fill_every_field_with_something_else_than_its_default(record):
    defaults = {each.name for each in attrs.fields(type(record)) if each.default != attrs.NOTHING}
    bare = next(each for each in some_bare_records() if type(each) is type(record))

    same = {name for name in defaults if getattr(record, name) == getattr(bare, name)}
    assert same == {"v"}


@pytest.mark.parametrize("record", some_bare_records(), ids=kind_of)
def test_what_has_its_default_is_left_out(record):
    defaults = {each.name for each in attrs.fields(type(record)) if each.default != attrs.NOTHING}

    assert defaults & json.loads(encode_record(record)).keys() == {"v"}


def test_a_field_that_is_written_although_it_has_its_default_means_the_same():
    assert decode_record(payload_with(HOME, critical=False, site_id="", crit=[])) == HOME
    assert decode_record(payload_with(OFFERS, revoked=False)) == OFFERS


@pytest.mark.parametrize("record", some_records(), ids=kind_of)
def test_a_record_is_ascii_in_one_line_with_its_keys_sorted(record):
    payload = encode_record(record)

    assert payload == spelled(json.loads(payload))
    assert payload.isascii()
    assert b"\n" not in payload


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(encode_record(HOME) + b"\n", id="newline-behind"),
        pytest.param(b" " + encode_record(HOME), id="blank-before"),
        pytest.param(json.dumps(json.loads(encode_record(HOME))).encode(), id="blanks"),
        pytest.param(
            encode_record(HOME)
            .replace(b'"area":"home",', b"")
            .replace(b'"v":1', b'"v":1,"area":"home"'),
            id="unsorted",
        ),
        pytest.param(
            encode_record(HOME).replace(b'"area":"home"', b'"area":"away","area":"home"'),
            id="key-twice",
        ),
        pytest.param(encode_record(HOME).replace(b'"home"', b'"\\u0068ome"'), id="escaped"),
        pytest.param(encode_record(HOME).replace(b'"epoch":0', b'"epoch":-0'), id="minus-zero"),
    ],
)
def test_any_other_spelling_is_not_canonical(payload):
    assert refused(payload) is Code.RECORD_NOT_CANONICAL


@given(st.text(min_size=1, max_size=20).filter(str.isprintable))
def test_text_of_every_script_survives_in_ascii(name):
    record = attrs.evolve(HOME, area=name)

    assert encode_record(record).isascii()
    assert decode_record(encode_record(record)) == record


def test_bytes_that_are_not_ascii_are_malformed_even_where_they_are_utf_8():
    assert refused(encode_record(HOME).replace(b"home-1", "hömé-1".encode())) is (
        Code.RECORD_MALFORMED
    )


# -- exact types --
@pytest.mark.parametrize(
    ("record", "fields"),
    [
        pytest.param(HOME, {"generation": "7"}, id="text-for-number"),
        pytest.param(HOME, {"generation": True}, id="true-for-number"),
        pytest.param(HOME, {"generation": 1.0}, id="float"),
        pytest.param(HOME, {"generation": None}, id="null-for-number"),
        pytest.param(HOME, {"generation": 0}, id="number-too-small"),
        pytest.param(HOME, {"epoch": -1}, id="negative"),
        pytest.param(HOME, {"generation": 2**53}, id="number-too-large"),
        pytest.param(HOME, {"epoch": [0]}, id="list-for-number"),
        pytest.param(HOME, {"critical": 1}, id="number-for-truth"),
        pytest.param(HOME, {"critical": "true"}, id="text-for-truth"),
        pytest.param(HOME, {"name": 7}, id="number-for-text"),
        pytest.param(HOME, {"name": ""}, id="empty-text"),
        pytest.param(HOME, {"name": "x" * 65}, id="text-too-long"),
        pytest.param(HOME, {"name": "a\x1b[2J"}, id="terminal-escape"),
        pytest.param(HOME, {"name": "\ud800"}, id="half-a-surrogate"),
        pytest.param(HOME, {"fabric": "00" * 15}, id="too-few-bytes"),
        pytest.param(HOME, {"fabric": "AB" * 16}, id="upper-case-hex"),
        pytest.param(HOME, {"fabric": "ab " * 15 + "ab"}, id="hex-with-blanks"),
        pytest.param(HOME, {"fabric": "0" * 31}, id="half-a-byte"),
        pytest.param(HOME, {"fabric": [0] * 16}, id="list-for-bytes"),
        pytest.param(HOME, {"key": "00" * 32}, id="no-point-for-a-key"),
        pytest.param(HOME, {"roles": "ab"}, id="text-for-list"),
        pytest.param(HOME, {"roles": {"a": 1}}, id="object-for-list"),
        pytest.param(HOME, {"roles": [1]}, id="number-in-list-of-text"),
        pytest.param(HOME, {"roles": ["b", "a"]}, id="unsorted-set"),
        pytest.param(HOME, {"roles": ["a", "a"]}, id="twice-in-a-set"),
        pytest.param(HOME, {"roles": [f"{n:02}" for n in range(33)]}, id="too-many"),
        pytest.param(HOME, {"labels": [["tier", "gold"]]}, id="pairs-for-object"),
        pytest.param(HOME, {"labels": {"tier": 1}}, id="number-in-object-of-text"),
        pytest.param(HOME, {"labels": {"": "gold"}}, id="empty-key"),
        pytest.param(HOME, {"labels": {f"{n}": "" for n in range(33)}}, id="too-many-labels"),
        pytest.param(HOME, {"crit": "area"}, id="text-for-crit"),
        pytest.param(HOME, {"crit": [1]}, id="number-in-crit"),
        pytest.param(HOME, {"crit": [["area"]]}, id="list-in-crit"),
        pytest.param(HOME, {"v": 0}, id="v-zero"),
        pytest.param(HOME, {"v": True}, id="v-true"),
        pytest.param(HOME, {"v": "2"}, id="v-text"),
        pytest.param(HOME, {"kind": 7}, id="number-for-kind"),
        pytest.param(HOME, {"kind": ["node"]}, id="list-for-kind"),
        pytest.param(HOME, {"subject": "home-1"}, id="subject-is-not-the-id-of-the-key"),
        pytest.param(HOME, {"expires_at": HOME.issued_at}, id="no-life"),
        pytest.param(ENDPOINT, {"candidates": [7]}, id="number-for-object"),
        pytest.param(ENDPOINT, {"candidates": [[]]}, id="list-for-object"),
        pytest.param(ENDPOINT, {"candidates": [{"kind": "host"}]}, id="missing-inside"),
        pytest.param(
            ENDPOINT, {"candidates": [{"kind": "HOST", "address": "a"}]}, id="no-such-value"
        ),
        pytest.param(ENDPOINT, {"candidates": [{"kind": 1, "address": "a"}]}, id="enum-by-number"),
        pytest.param(ENDPOINT, {"candidates": [{"kind": [], "address": "a"}]}, id="enum-by-list"),
        pytest.param(ENDPOINT, {"probe_key": ""}, id="empty-for-maybe"),
        pytest.param(ENDPOINT, {"probe_key": 0}, id="number-for-maybe"),
        pytest.param(POLICY, {"targets": {"default": []}}, id="list-for-all-defaults"),
        pytest.param(POLICY, {"targets": {"default": ""}}, id="text-for-all-defaults"),
        pytest.param(ROOT, {"keys": []}, id="list-for-keys"),
        pytest.param(ROOT, {"roles": {"root": []}}, id="list-for-a-role"),
    ],
)
def test_anything_but_exact_types_and_sizes_is_malformed(record, fields):
    assert refused(payload_with(record, **fields)) is Code.RECORD_MALFORMED


@pytest.mark.parametrize(
    ("record", "fields", "name"),
    [
        (HOME, {"fabric": "AB" * 16}, "fabric"),
        (HOME, {"roles": "ab"}, "roles"),
        (HOME, {"labels": []}, "labels"),
        (ENDPOINT, {"probe_key": "xy"}, "probe_key"),
        (ENDPOINT, {"candidates": [[]]}, "candidates"),
        (ENDPOINT, {"candidates": [{"kind": "HOST", "address": "a"}]}, "kind"),
        (POLICY, {"targets": {"default": 7}}, "targets"),
    ],
)
def test_the_field_at_fault_is_named(record, fields, name):
    with pytest.raises(RecordError, match=f": {name} is not"):
        decode_record(payload_with(record, **fields))


def test_every_field_has_a_validator_for_the_codec_relies_on_it():
    kinds = [each for module in (records, update_records) for each in vars(module).values()]
    fields = [(kind, each) for kind in kinds if attrs.has(kind) for each in attrs.fields(kind)]

    assert len(fields) > 200
    assert [(kind, each.name) for kind, each in fields if each.validator is None] == []


@pytest.mark.parametrize("name", sorted(json.loads(encode_record(AFabric().node("home-1")))))
def test_a_missing_field_is_malformed_and_named(name):
    plain = json.loads(encode_record(HOME))
    del plain[name]

    with pytest.raises(RecordError) as raised:
        decode_record(spelled(plain))
    assert raised.value.code is Code.RECORD_MALFORMED
    assert name in raised.value.detail


@pytest.mark.parametrize("crit", ["area", [1], [["area"]], [{}], [None]])
def test_a_crit_that_is_no_list_of_text_is_named_as_the_fault(crit):
    with pytest.raises(RecordError, match="crit"):
        decode_record(payload_with(HOME, crit=crit))


def test_a_fault_is_told_in_few_words_whatever_the_record_holds():
    many = {"keys": sorted(f"{n:064}" for n in range(64)), "threshold": 1}
    with pytest.raises(RecordError) as raised:
        decode_record(payload_with(ROOT, roles={"root": many}))

    assert raised.value.detail.startswith("role root names unknown keys")
    assert len(raised.value.detail) == 200


@pytest.mark.parametrize("number", ["1.0", "1e3", "NaN", "Infinity", "-Infinity", "9" * 5000])
def test_every_number_anywhere_is_an_integer_of_53_bits(number):
    payload = encode_record(HOME).replace(b'"v":1', b'"v":1,"zeal":%s' % number.encode())

    assert refused(payload) is Code.RECORD_MALFORMED


def test_the_largest_number_that_any_reader_holds_exactly_is_taken_and_the_next_is_not():
    assert decode_record(payload_with(HOME, zeal=2**53 - 1)) == HOME
    assert decode_record(payload_with(HOME, zeal=1 - 2**53)) == HOME
    assert refused(payload_with(HOME, zeal=2**53)) is Code.RECORD_MALFORMED
    assert refused(payload_with(HOME, zeal=-(2**53))) is Code.RECORD_MALFORMED


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"7", b'"node"', b"[]", b'[["kind","node"]]', b"{}", b"\xff", b"{"]
)
def test_what_is_no_object_is_malformed(payload):
    assert refused(payload) is Code.RECORD_MALFORMED


def nested(levels, open_="[", close="]"):
    return json.loads(open_ * levels + close * levels)


def test_sixteen_levels_are_taken_and_seventeen_are_malformed():
    assert decode_record(payload_with(HOME, zeal=nested(15))) == HOME
    assert refused(payload_with(HOME, zeal=nested(16))) is Code.RECORD_MALFORMED
    assert refused(payload_with(HOME, zeal={"a": nested(15)})) is Code.RECORD_MALFORMED
    assert decode_record(payload_with(HOME, zeal=[[]] * 100)) == HOME


@pytest.mark.parametrize("piece", [b"[", b'{"a":'])
def test_deep_nesting_is_malformed_not_a_crash(piece):
    assert refused(piece * (60_000 // len(piece))) is Code.RECORD_MALFORMED


# -- sizes --
def test_a_record_over_64_kib_is_refused_before_it_is_read():
    assert refused(b"{" * (MOST_BYTES + 1)) is Code.RECORD_TOO_LARGE
    assert refused(b"{" * MOST_BYTES) is Code.RECORD_MALFORMED


def padded(record, size, **fields):
    bare = len(payload_with(record, zeal="", **fields))
    return payload_with(record, zeal="x" * (size - bare), **fields)


@pytest.mark.parametrize("fields", [{}, {"v": 2}, {"crit": ["zeal"]}, {"kind": "mood"}])
def test_a_node_has_8_kib_for_its_own_word_whether_it_is_understood_or_not(fields):
    decode_record(padded(OFFERS, MOST_OWN_BYTES, **fields))

    assert refused(padded(OFFERS, MOST_OWN_BYTES + 1, **fields)) is Code.RECORD_TOO_LARGE


def test_the_directory_has_64_kib():
    assert decode_record(padded(HOME, MOST_BYTES)) == HOME


# -- later releases --
LATER = {name: payload.encode() for name, payload in FROZEN["later"].items()}


def test_what_later_releases_write_is_frozen_too():
    assert later_payloads() == LATER


@pytest.mark.parametrize("name", ["a field", "a field inside a field"])
def test_a_record_is_used_without_a_field_that_is_unknown(name):
    record = decode_record(LATER[name])

    assert isinstance(record, NodeRecord | EndpointRecord)
    assert (
        type(record)(
            **{each.name: getattr(record, each.name) for each in attrs.fields(type(record))}
        )
        == record
    )


@pytest.mark.parametrize(
    ("name", "key", "order", "authors"),
    [
        ("a critical field", HOME.key, (0, 1), (Role.DIRECTORY,)),
        ("a tombstone with a critical field", HOME.key, (0, 2), (Role.DIRECTORY,)),
        ("a higher v", HOME.key, (0, 1), (Role.DIRECTORY,)),
        ("a higher v of a node's own word", OFFERS.key, (0, 1), (NODE,)),
        ("a kind of the directory", Key("weather", "fabric"), (0, 1), (Role.DIRECTORY,)),
        ("a kind of a node", Key("mood", OFFERS.subject), (0, 1), (NODE,)),
        ("a kind with a version", Key("charter", "fabric"), (0, 12), (Role.DIRECTORY,)),
    ],
)
def test_what_cannot_be_interpreted_is_opaque_and_keeps_its_place(name, key, order, authors):
    record = decode_record(LATER[name])

    assert type(record) is Opaque
    assert (record.key, record.order, record.authors) == (key, order, authors)
    assert record.own_word is (authors == (NODE,))
    assert record.fabric == HOME.fabric
    assert record.issued_at == HOME.issued_at
    assert record.revoked is ("tombstone" in name)


def test_a_critical_field_that_is_known_is_no_obstacle():
    record = attrs.evolve(HOME, crit=("area", "fabric", "key", "kind"))
    payload = payload_with(HOME, crit=["area", "fabric", "key", "kind"])

    assert decode_record(payload) == record


def test_a_critical_field_goes_by_its_name_on_the_wire():
    assert type(decode_record(payload_with(HOME, crit=["key_bytes"]))) is Opaque


@pytest.mark.parametrize("authority", [HOME, ROOT, AFabric().service("demo")], ids=kind_of)
@pytest.mark.parametrize("disguise", [{"v": 2}, {"crit": ["zeal"]}])
def test_no_node_gives_a_kind_of_the_directory_an_order_of_its_own(authority, disguise):
    plain = json.loads(payload_with(authority, **disguise))
    for name in ("epoch", "generation", "version"):
        plain.pop(name, None)

    assert refused(spelled({**plain, "sequence": 2**40})) is Code.RECORD_MALFORMED


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="none"),
        pytest.param({"epoch": 0}, id="epoch-alone"),
        pytest.param({"generation": 1}, id="generation-alone"),
        pytest.param({"epoch": 0, "generation": 1, "sequence": 1}, id="two"),
        pytest.param({"sequence": 1, "version": 1}, id="another-two"),
        pytest.param({"sequence": True}, id="true"),
        pytest.param({"sequence": -1}, id="negative"),
        pytest.param({"version": "1.2"}, id="text"),
    ],
)
def test_a_kind_that_is_unknown_has_to_be_ordered_in_exactly_one_way(fields):
    plain = json.loads(payload_with(OFFERS, kind="mood"))
    del plain["sequence"]

    assert refused(spelled({**plain, **fields})) is Code.RECORD_MALFORMED


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": 7},
        {"subject": ""},
        {"fabric": "00"},
        {"fabric": None},
        {"v": "1"},
        {"issued_at": "now"},
        {"expires_at": 0},
        {"revoked": 1},
        {"crit": "zeal"},
        {"kind": ""},
        {"kind": "a/b"},
        {"kind": "x" * 65},
        {"kind": "a\nb"},
    ],
)
def test_a_kind_that_is_unknown_still_has_what_every_record_has(fields):
    assert refused(payload_with(OFFERS, **{"kind": "mood", **fields})) is Code.RECORD_MALFORMED


def test_an_opaque_record_cannot_be_written_anew():
    with pytest.raises(LocalProtocolError):
        encode_record(decode_record(LATER["a kind of the directory"]))


# -- the names that order --
ORDERS = ({"epoch", "generation"}, {"sequence"}, {"version"})


@pytest.mark.parametrize("kind", KINDS.values(), ids=kind_of)
def test_the_names_that_order_records_mean_nothing_else_in_any_kind(kind):
    names = {each.name for each in attrs.fields(kind)} & set.union(*ORDERS)

    assert names in ORDERS
    assert (names == {"sequence"}) is issubclass(kind, OwnWord) is (kind.AUTHOR == NODE)


@pytest.mark.parametrize("kind", KINDS.values(), ids=kind_of)
def test_no_field_hides_what_every_record_answers(kind):
    own = {each.name for each in attrs.fields(kind)} - {e.name for e in attrs.fields(Record)}

    assert not own & {"kind", "key", "order", "authors", "check"}
