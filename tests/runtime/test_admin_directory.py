"""The admin socket about the fabric: each route with its answer, its status and its refusals."""

import json

import pytest

from fabric.codes import Code
from fabric.core.codec.envelopes import envelope_to_json
from fabric.runtime.admin_json import ROWS_PER_TURN, encode_in_turns
from fabric.testing.records import AFabric
from tests.runtime.an_admin import READER, FakeNode, administered


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/directory", {"records": [{"key": "service/demo"}, {"key": "service/web"}]}),
        ("/v1/directory/node/home-1", {"key": "node/home-1", "hops": 2}),
        ("/v1/directory/node/a%2Fb", {"key": "node/a/b", "hops": 2}),
        ("/v1/members", {"members": [{"name": "home-1"}]}),
        ("/v1/waves", {"waves": [{"wave_id": "0a" * 8}]}),
        (
            "/v1/registry",
            {"fabric_registry_runtime_report": {"status": "active"}, "services": []},
        ),
    ],
)
async def test_what_the_node_knows_is_told_to_whoever_may_read(tmp_path, path, answer):
    async with administered(tmp_path, FakeNode(), caller_of=lambda _stream: READER) as caller:
        assert await caller.call("GET", path) == (200, answer)


async def test_a_kind_is_asked_for_and_one_that_does_not_exist_is_refused(tmp_path):
    async with administered(tmp_path, FakeNode()) as caller:
        status, told = await caller.call("GET", "/v1/directory?kind=service")
        assert (status, len(told["records"])) == (200, 2)
        status, told = await caller.call("GET", "/v1/directory?kind=servise")
        assert (status, told["code"]) == (400, "bad_request")
        assert told["message"] == "There is no kind 'servise'."


async def test_a_record_that_is_not_held_is_not_found(tmp_path):
    async with administered(tmp_path, FakeNode()) as caller:
        status, told = await caller.call("GET", "/v1/directory/node/nobody")
    assert (status, told["code"], told["message"]) == (
        404,
        "unknown_record",
        "No node/nobody is held here.",
    )


async def test_a_record_is_handed_over_as_its_file_is(tmp_path):
    node, fabric = FakeNode(), AFabric()
    envelope = fabric.signed(fabric.service("demo"))
    body = envelope_to_json(envelope).encode()
    async with administered(tmp_path, node) as caller:
        assert await caller.call("POST", "/v1/records", body) == (201, {"outcome": "taken"})
        assert await caller.call("POST", "/v1/records", body) == (200, {"outcome": "held"})
    assert node.published == [envelope, envelope]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.SUPERSEDED, 409),
        (Code.FORGED, 409),
        (Code.RECORD_MALFORMED, 400),
        (Code.RECORD_NOT_CANONICAL, 400),
        (Code.RECORD_TOO_LARGE, 413),
    ],
)
async def test_a_record_that_is_refused_is_answered_with_its_code(tmp_path, code, status):
    node, fabric = FakeNode(), AFabric()
    node.refuses = code
    body = envelope_to_json(fabric.signed(fabric.service("demo"))).encode()
    async with administered(tmp_path, node) as caller:
        answered, told = await caller.call("POST", "/v1/records", body)
    assert (answered, told["code"], told["remedy"]) == (status, code.label, code.remedy)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 400, "record_malformed"),
        (b"\xff", 400, "record_malformed"),
        (b" " * (129 << 10), 413, "record_too_large"),
    ],
)
async def test_a_body_that_is_no_record_reaches_nobody(tmp_path, body, status, code):
    node = FakeNode()
    async with administered(tmp_path, node) as caller:
        answered, told = await caller.call("POST", "/v1/records", body)
    assert (answered, told["code"], node.published) == (status, code, [])


async def test_who_may_only_read_hands_nothing_over(tmp_path):
    node = FakeNode()
    async with administered(tmp_path, node, caller_of=lambda _stream: READER) as caller:
        status, told = await caller.call("POST", "/v1/records", b"{}")
    assert (status, told["code"], node.published) == (403, "caller_may_not_change", [])


async def test_rows_are_made_in_turns_and_only_as_they_are_written():
    made = []

    def rows():
        for number in range(2 * ROWS_PER_TURN + 1):
            made.append(number)
            yield {"number": number}

    encoded = await encode_in_turns({"v": 1, "rows": rows(), "none": iter(())})
    assert json.loads(encoded) == {"v": 1, "rows": [{"number": n} for n in made], "none": []}
    assert len(made) == 2 * ROWS_PER_TURN + 1
