"""The admin socket over a real Unix socket: each route, who may use it, what readers cost."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from fabric.codes import Code
from fabric.config import AdminConfig, HostPort
from fabric.errors import ConfigError
from fabric.net.asgi_answers import Answer, LiveAnswer
from fabric.net.unix import Credentials
from fabric.runtime.admin import serve_admin
from fabric.runtime.admin_access import Access, access_of
from fabric.runtime.admin_json import ROWS_PER_TURN, encode_in_turns
from fabric.runtime.admin_routes import NodeRoutes
from tests.runtime.an_admin import (
    CHANNEL,
    NOBODY,
    READER,
    SNAPSHOT,
    FakeNode,
    a_config,
    administered,
)


async def test_the_snapshot_is_the_nodes_own(tmp_path):
    async with administered(tmp_path, FakeNode()) as caller:
        assert await caller.call("GET", "/v1/snapshot") == (200, SNAPSHOT)


async def test_a_large_snapshot_lets_others_run_while_it_is_encoded():
    large = SNAPSHOT | {"channels": [{"id": f"{number}"} for number in range(10 * ROWS_PER_TURN)]}
    turns = 0

    async def run_beside():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_beside)
        assert json.loads(await encode_in_turns(large)) == large
        nursery.cancel_scope.cancel()
    assert turns >= 5  # of ten; who goes first in a turn is the scheduler's to say


async def test_metrics_are_in_prometheus_text_format(tmp_path):
    node = FakeNode()
    node.metrics.channels_refused.add("demo", Code.NOT_PERMITTED, "in")
    async with administered(tmp_path, node) as caller:
        status, text = await caller.call("GET", "/metrics")
    assert status == 200
    wanted = (
        'fabric_channels_refused_total{code="not_permitted",direction="in",service="demo"} 1.0'
    )
    assert wanted in text.splitlines()


async def test_one_channel_is_found_by_its_id(tmp_path):
    async with administered(tmp_path, FakeNode()) as caller:
        assert await caller.call("GET", f"/v1/channels/{CHANNEL['id']}") == (200, CHANNEL)
        status, told = await caller.call("GET", "/v1/channels/unknown")
        assert (status, told["code"]) == (404, "unknown_channel")


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("ready", 200, None),
        ("starting", 503, "starting"),
        ("draining", 503, "draining"),
        ("revoked", 503, "revoked"),
    ],
)
async def test_readiness_is_a_status_code(tmp_path, state, status, code):
    node = FakeNode()
    node.state = state
    async with administered(tmp_path, node) as caller:
        answered, told = await caller.call("GET", "/v1/ready")
        assert (answered, told.get("code")) == (status, code)


async def test_a_drain_is_started_once_and_answered_at_once(tmp_path):
    node = FakeNode()
    async with administered(tmp_path, node) as caller:
        for _ in range(2):
            assert await caller.call("POST", "/v1/drain") == (202, {"state": "draining"})
        await trio.testing.wait_all_tasks_blocked()
        assert node.drains == 1


async def test_a_stop_is_answered_before_it_is_begun(tmp_path):
    node = FakeNode()
    answered = []
    async with administered(tmp_path, node) as caller:
        client = caller.stream.socket.fileno()
        node.stop = lambda: answered.append(select.select([client], [], [], 0)[0] == [client])
        await caller.ask("POST", "/v1/stop")
        await trio.testing.wait_all_tasks_blocked()
        assert (await caller.event()).status_code == 202
    assert answered == [True]


async def test_a_service_is_exposed_and_taken_back(tmp_path):
    node = FakeNode()
    wanted = {"name": "web", "backend": "127.0.0.1:8000"}
    async with administered(tmp_path, node) as caller:
        assert await caller.call("POST", "/v1/services", wanted) == (201, {"name": "web"})
        service = node.services["web"]
        assert service.backend == HostPort("127.0.0.1", 8000)
        assert await caller.call("DELETE", "/v1/services/web") == (200, {"name": "web"})
        status, told = await caller.call("DELETE", "/v1/services/web")
        assert (status, told["code"]) == (404, "unknown_service")


@pytest.mark.parametrize(
    ("body", "mistakes"),
    [
        ({"name": "web"}, ["backend: is missing"]),
        (
            {"name": "-", "backend": "here", "open_to": ["any"]},
            ["name: ", "backend: ", "open_to: no such field"],
        ),
        ([], ["no JSON object"]),
        (b"{", ["no JSON"]),
        (b"[" * 100_000, ["no JSON"]),
        (b"\xff", ["no JSON"]),
    ],
)
async def test_every_mistake_of_a_request_is_told_at_once(tmp_path, body, mistakes):
    with capture_logs() as entries:
        async with administered(tmp_path, FakeNode()) as caller:
            status, told = await caller.call("POST", "/v1/services", body)
            assert (status, told["code"]) == (400, "bad_request")
            for mistake in mistakes:
                assert mistake in told["message"]
    assert [entry["event"] for entry in entries] == ["admin.opened", "admin.change_refused"]


async def test_what_the_node_refuses_is_answered_with_its_code(tmp_path):
    async with administered(tmp_path, FakeNode()) as caller:
        wanted = {"name": "taken", "backend": "127.0.0.1:1"}
        assert await caller.call("POST", "/v1/services", wanted) == (
            403,
            {
                "code": "not_permitted",
                "message": "Another service has this name.",
                "remedy": Code.NOT_PERMITTED.remedy,
            },
        )


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "no_such_route"),
        ("GET", "/v1/snapshot/", 404, "no_such_route"),
        ("POST", "/v1/snapshot", 405, "no_such_method"),
        ("GET", "/v1/stop", 405, "no_such_method"),
    ],
)
async def test_a_wrong_path_or_method_is_told_apart(tmp_path, method, path, status, code):
    async with administered(tmp_path, FakeNode()) as caller:
        answered, told = await caller.call(method, path)
        assert (answered, told["code"]) == (status, code)


async def test_a_callers_routes_are_served_and_guarded_too(tmp_path):
    def routes():
        from starlette.routing import Route

        async def forward(request):
            async def count(write):
                for number in range(3):
                    await write(b"%d\n" % number)

            return LiveAnswer(count, "application/x-ndjson")

        return [Route("/v1/forwards", forward, methods=["POST"])]

    async with administered(tmp_path, FakeNode(), extra_routes=routes) as caller:
        assert await caller.call("POST", "/v1/forwards", {}) == (200, "0\n1\n2\n")
    options = {"extra_routes": routes, "caller_of": lambda stream: READER}
    async with administered(tmp_path, FakeNode(), **options) as caller:
        assert (await caller.call("POST", "/v1/forwards", {}))[0] == 403


async def test_events_are_streamed_as_they_happen(tmp_path):
    node = FakeNode()
    async with administered(tmp_path, node) as caller:
        await caller.ask("GET", "/v1/events")
        pieces = caller.pieces()
        assert await anext(pieces) == b": subscribed\n\n"
        node.events.publish("peer.connected", peer="home-1", code=Code.DONE)
        lines = (await anext(pieces)).decode().splitlines()
        assert lines[:2] == ["id: 1", "event: peer.connected"]
        data = json.loads(lines[2].removeprefix("data: "))
        assert (data["peer"], data["code"]) == ("home-1", "done")
        assert node.events.subscribers == 1
        await pieces.aclose()
        await caller.stream.aclose()
        while node.events.subscribers:
            await trio.testing.wait_all_tasks_blocked()


async def test_a_silent_subscription_is_kept_alive(autojump_clock):
    written = []

    async def write(data):
        written.append(data)

    with trio.move_on_after(31):
        await NodeRoutes(FakeNode(), lambda: None)._tell_events(write)
    assert written == [b": subscribed\n\n", b": alive\n\n", b": alive\n\n"]


async def test_a_slow_subscriber_loses_events_and_is_told_while_the_node_goes_on(tmp_path):
    node = FakeNode()
    async with administered(tmp_path, node) as caller:
        await caller.ask("GET", "/v1/events")
        pieces = caller.pieces()
        await anext(pieces)
        filler = "x" * 1000
        for number in range(5000):  # 5 MB: more than the kernel and the queue hold together
            node.events.publish("channel.opened", number=number, filler=filler)
            if number % 100 == 0:
                await trio.testing.wait_all_tasks_blocked()
        assert node.events.dropped > 0
        told = b""
        while b"event: events.dropped" not in told or told.count(b"\n\n") < 100:
            told += await anext(pieces)
        await pieces.aclose()
    count = json.loads(told.partition(b"event: events.dropped\ndata: ")[2].partition(b"\n")[0])
    assert count["count"] == node.events.dropped


async def test_a_group_may_read_and_not_change(tmp_path):
    options = {"caller_of": lambda stream: READER}
    with capture_logs() as entries:
        async with administered(tmp_path, FakeNode(), **options) as caller:
            assert (await caller.call("GET", "/v1/ready"))[0] == 200
            for method, path in (("POST", "/v1/stop"), ("DELETE", "/v1/services/x")):
                status, told = await caller.call(method, path)
                assert (status, told["code"]) == (403, "caller_may_not_change")
    refused = [entry for entry in entries if entry["event"] == "admin.refused"]
    assert refused[0]["uid"] == READER.uid
    assert refused[0]["pid"] == READER.pid


async def test_a_stranger_who_holds_the_socket_may_not_even_read(tmp_path):
    options = {"caller_of": lambda stream: NOBODY}
    async with administered(tmp_path, FakeNode(), **options) as caller:
        status, told = await caller.call("GET", "/v1/snapshot")
        assert (status, told["code"]) == (403, "caller_may_not_read")


async def test_a_change_is_logged_and_told_with_who_asked(tmp_path):
    node = FakeNode()
    with capture_logs() as entries:
        async with administered(tmp_path, node) as caller, node.events.open_subscription() as told:
            await caller.call("POST", "/v1/drain")
            event = await anext(told)
    (entry,) = [entry for entry in entries if entry["event"] == "admin.changed"]
    assert (entry["uid"], entry["pid"]) == (os.getuid(), os.getpid())
    assert (entry["path"], entry["status"]) == ("/v1/drain", 202)
    assert (event.name, event.fields["pid"]) == ("admin.changed", os.getpid())


@pytest.mark.parametrize(
    ("caller", "reads", "changes"),
    [
        (Credentials(1, 0, frozenset()), True, True),
        (Credentials(1, 1000, frozenset()), True, True),
        (Credentials(1, 7, frozenset({50})), True, False),
        (Credentials(1, 7, frozenset({60})), True, True),
        (Credentials(1, 7, frozenset({70})), False, False),
    ],
)
def test_root_the_owner_and_the_change_group_change_the_group_reads(caller, reads, changes):
    access = Access(owner=1000, group=50, change_group=60)
    assert (access.refusal(caller, changes=False) is None) is reads
    assert (access.refusal(caller, changes=True) is None) is changes


def test_without_a_change_group_no_group_changes():
    access = Access(owner=1000, group=50, change_group=None)
    caller = Credentials(1, 7, frozenset({50}))
    assert access.refusal(caller, changes=True) is Code.CALLER_MAY_NOT_CHANGE


def test_a_group_that_does_not_exist_is_a_mistake_of_the_configuration():
    with pytest.raises(ConfigError, match=r"admin\.change_group: no group no-such"):
        access_of(AdminConfig(change_group="no-such"))


async def test_a_second_node_at_the_same_socket_is_refused(tmp_path):
    async with administered(tmp_path, FakeNode()):
        with pytest.raises(ConfigError, match="another process answers there"):
            await serve_admin(FakeNode(), a_config(tmp_path))


PROGRAM = """
import sys
sys.modules["rich"] = None  # as the daemons do: structlog would import it for tracebacks
import trio
from pathlib import Path
from functools import partial
from fabric.config import NodeConfig, admin_socket_path
from fabric.runtime.admin import serve_admin
from fabric.runtime.events import EventBus
from fabric.runtime.metrics import Metrics

HEAVY = ("starlette", "anyio", "prometheus_client", "httpx2")

class Node:
    state = "ready"
    metrics = Metrics()
    events = EventBus()

async def main():
    folder = Path(sys.argv[1])
    config = NodeConfig(name="n", trust_root=folder, key_file=folder, state_dir=folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_admin, Node(), config))
        assert not [name for name in HEAVY if name in sys.modules]
        async with await trio.open_unix_socket(admin_socket_path(config)) as stream:
            await stream.send_all(b"GET /v1/ready HTTP/1.1\\r\\nHost: n\\r\\n\\r\\n")
            assert b" 200 " in await stream.receive_some(4096)
        assert "starlette" in sys.modules
        nursery.cancel_scope.cancel()

trio.run(main)
"""


def test_the_framework_is_imported_by_the_first_request_and_not_before(tmp_path):
    subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "state"], check=True, timeout=30)


def test_an_answer_that_is_not_json_is_a_bug_told_to_its_author():
    with pytest.raises(TypeError):
        Answer.of_json({"key": b"secret"})
