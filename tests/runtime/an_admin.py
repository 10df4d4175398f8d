"""A node that only an admin socket sees, and a caller at that socket."""

import grp
import json
import os
from contextlib import asynccontextmanager
from functools import partial

import h11
import trio

from fabric.codes import Code
from fabric.config import AdminConfig, NodeConfig, admin_socket_path
from fabric.errors import RefusedError
from fabric.net.unix import Credentials
from fabric.runtime.admin import serve_admin
from fabric.runtime.events import EventBus
from fabric.runtime.metrics import Metrics

NOBODY = Credentials(pid=4711, uid=65534, groups=frozenset({65534}))
READER = Credentials(pid=4711, uid=65534, groups=frozenset({65534, os.getegid()}))
CHANNEL = {"id": "0a" * 16, "service": "demo", "sent_bytes": 3}
SNAPSHOT = {
    "v": 1,
    "node": dict.fromkeys(("name", "id", "area", "release"), "x")
    | {"state": "ready", "uptime_s": 1, "tasks": 9},
    "peers": [],
    "channels": [],
    "planes": [],
    "services": [],
    "listeners": [],
    "counters": {},
}


class FakeNode:
    def __init__(self):
        self.state = "ready"
        self.metrics = Metrics()
        self.metrics.observe(self.snapshot)
        self.events = EventBus()
        self.services = {}
        self.drains = 0
        self.published = []
        self.refuses = None

    def snapshot(self):
        return SNAPSHOT

    def channel(self, channel_id):
        return CHANNEL if channel_id == CHANNEL["id"] else None

    def directory_rows(self, kind=""):
        if kind not in ("", "service"):
            raise RefusedError(Code.BAD_REQUEST, f"There is no kind {kind!r}.")
        return ({"key": f"service/{name}"} for name in ("demo", "web"))

    def trace(self, key):
        return {"key": str(key), "hops": 2} if key.subject != "nobody" else None

    def member_rows(self):
        return iter([{"name": "home-1"}])

    def wave_rows(self):
        return [{"wave_id": "0a" * 8}]

    def registry_report(self):
        return {"fabric_registry_runtime_report": {"status": "active"}, "services": []}

    def publish(self, envelope):
        self.published.append(envelope)
        if self.refuses is not None:
            raise RefusedError(self.refuses)
        held = self.published.count(envelope) > 1
        return {"outcome": "held" if held else "taken"}

    async def drain(self):
        self.drains += 1
        self.state = "draining"
        await trio.sleep_forever()

    async def expose(self, service):
        if service.name == "taken":
            raise RefusedError(Code.NOT_PERMITTED, "Another service has this name.")
        self.services[service.name] = service

    async def unexpose(self, name):
        if name not in self.services:
            raise RefusedError(Code.UNKNOWN_SERVICE)
        del self.services[name]


class Caller:
    """One connection to the socket, for any number of requests."""

    def __init__(self, stream):
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    async def ask(self, method, path, body=None):
        data = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        head = h11.Request(
            method=method, target=path, headers=[("host", "n"), ("content-length", str(len(data)))]
        )
        events = (head, h11.Data(data=data), h11.EndOfMessage())
        await self.stream.send_all(b"".join(self._h11.send(event) or b"" for event in events))

    async def event(self):
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self.stream.receive_some(65536))
        return event

    async def call(self, method, path, body=None):
        await self.ask(method, path, body)
        head, data = await self.event(), b""
        while isinstance(event := await self.event(), h11.Data):
            data += event.data
        self._h11.start_next_cycle()
        is_json = dict(head.headers)[b"content-type"] == b"application/json"
        return head.status_code, json.loads(data) if is_json else data.decode()

    async def pieces(self):
        assert (await self.event()).status_code == 200
        while isinstance(event := await self.event(), h11.Data):
            yield bytes(event.data)


@asynccontextmanager
async def administered(folder, node, **options):
    config = a_config(folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_admin, node, config, **options))
        async with await trio.open_unix_socket(admin_socket_path(config)) as stream:
            yield Caller(stream)
        nursery.cancel_scope.cancel()


def a_config(folder, **admin):
    group = grp.getgrgid(os.getegid()).gr_name
    admin = AdminConfig(**{"group": group} | admin)
    return NodeConfig(
        name="n",
        trust_root=folder / "root.json",
        key_file=folder / "n.key",
        state_dir=folder / "s",
        admin=admin,
    )
