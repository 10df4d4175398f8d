"""10,000 signed records on a disk, and how long a process takes until it can use them.

    cold_disk.py make FOLDER            writes them, as our cache and as rows of JSON
    cold_disk.py cache FOLDER           our cache; prints {figure: seconds}
    cold_disk.py node FOLDER            all that a starting node does with it, until it can resolve
    cold_disk.py json FOLDER            a table of JSON documents, as one would write it first

The page cache is asked to forget the files before they are read. Each reads in a process of its
own, whose imports do not count.
"""

from __future__ import annotations

import base64
import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import trio

from fabric.config import HostPort, LogConfig, NodeConfig, QuicConfig
from fabric.core.admission import Myself
from fabric.core.codec.envelopes import envelope_to_json, pack_envelope
from fabric.core.identity import NodeName
from fabric.core.planes import Planes
from fabric.core.records import Key, Record
from fabric.net.tls import NodeKey
from fabric.runtime import logs
from fabric.runtime.boot import draw_instance
from fabric.runtime.events import EventBus
from fabric.runtime.knowledge import Knowledge, open_knowledge
from fabric.runtime.links import AnyLink
from fabric.runtime.metrics import Metrics
from fabric.runtime.overlay import Overlay
from fabric.runtime.refusals import RefusalLog
from fabric.store.kept import Snapshot, StoredRecord
from fabric.store.peer_cache import CACHE_FILE, open_peer_cache
from fabric.testing.records import BORN, AFabric

RECORDS = 10_000
OF_ONE_NODE = 4
JSON_FILE = "rows.db"
ROOT_FILE = "root.json"
ME, SERVICE = "node-0000", "demo"


# -- making --
def make(folder: Path) -> None:
    fabric = AFabric()
    records = [*some_records(fabric), stored(fabric, fabric.service(SERVICE, core=True), ME)]
    (folder / ROOT_FILE).write_text(envelope_to_json(fabric.signed(fabric.root())))
    trio.run(fill_cache, folder, records)
    fill_rows(folder / JSON_FILE, records)


def some_records(fabric: AFabric) -> Iterator[StoredRecord]:
    for number in range(RECORDS // OF_ONE_NODE):
        name = f"node-{number:04}"
        said: tuple[Record, ...] = (
            fabric.node(name, roles=("egress",), labels={"tier": "gold"}, site_id="cellar"),
            fabric.endpoint(name, "192.0.2.1:4433", "[2001:db8::1]:4433"),
            fabric.offers(name, SERVICE, "logs"),
            fabric.sightings(name),
        )
        for record in said:
            yield stored(fabric, record, name)


def stored(fabric: AFabric, record: Record, by: str) -> StoredRecord:
    """As a wave brought it, from the node of the name *by*."""
    packed = pack_envelope(fabric.signed(record))
    return StoredRecord(
        *record.key, packed, fabric.node_id(by), 2, 0.125, b"wave-id.", float(BORN)
    )


async def fill_cache(folder: Path, records: list[StoredRecord]) -> None:
    async with open_peer_cache(folder / CACHE_FILE) as cache:
        cache.store_root(1, pack_envelope(AFabric().signed(AFabric().root())))
        for record in records:
            cache.store(record.key, record.packed, record)


def fill_rows(path: Path, records: list[StoredRecord]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE records (key TEXT PRIMARY KEY, document TEXT)")
        rows = ((str(record.key), document_of(record)) for record in records)
        connection.executemany("INSERT INTO records VALUES (?, ?)", rows)


def document_of(record: StoredRecord) -> str:
    return json.dumps(
        {
            "packed": base64.b64encode(record.packed).decode(),
            "from_peer": record.from_peer,
            "hops": record.hops,
            "age": record.age,
            "wave_id": record.wave_id.hex(),
            "at": record.at,
        }
    )


# -- reading --
def read_cache(folder: Path) -> Mapping[str, float]:
    started = time.perf_counter()
    found = trio.run(load, folder / CACHE_FILE)
    took = time.perf_counter() - started
    if len(found.records) != RECORDS + 1:
        raise SystemExit(f"{len(found.records)} records of {RECORDS} and a service")
    return {"cache.load_10k": took}


async def load(path: Path) -> Snapshot:
    async with open_peer_cache(path) as cache:
        return await cache.load()


def read_node(folder: Path) -> Mapping[str, float]:
    return {"cache.usable_10k": trio.run(until_usable, folder)}


async def until_usable(folder: Path) -> float:
    """Return the seconds until a node that nobody has spoken to yet knows whom to ask."""
    config = NodeConfig(
        name=ME,
        trust_root=folder / ROOT_FILE,
        state_dir=folder,
        quic=QuicConfig(listen=HostPort("127.0.0.1", 0)),
    )
    key, rng = NodeKey.from_seed(bytes(AFabric().node_key(ME))), random.Random(1)
    started = time.perf_counter()
    async with open_knowledge(
        config, AFabric().node_id(ME), rng, unix_now=lambda: BORN + 1.0, run_blocking=None
    ) as knowledge:
        overlay = put_together(config, knowledge, key, rng)
        resolution = overlay.registry.resolve(SERVICE)
        took = time.perf_counter() - started
        if len(knowledge.directory) != RECORDS + 2:
            raise SystemExit(f"{len(knowledge.directory)} records are held, not {RECORDS + 2}")
        if not resolution.instances:
            raise SystemExit(f"nobody is found to ask: {resolution.code}")
    return took


def put_together(
    config: NodeConfig, knowledge: Knowledge, key: NodeKey, rng: random.Random
) -> Overlay:
    """Every plane of a node that goes by its directory, told of all that was recalled."""
    metrics = Metrics()
    me = Myself(
        name=NodeName(ME),
        key=key.public,
        fabric_id=knowledge.fabric_id,
        instance=draw_instance(),
        boot_seq=1,
        sign=key.sign,
    )
    return Overlay(
        config,
        me,
        knowledge,
        accept_channels=accept_none,
        planes=Planes(),
        metrics=metrics,
        events=EventBus(),
        refusals=RefusalLog(metrics),
        rng=rng,
    )


async def accept_none(_: AnyLink) -> None:
    """There is no link in here."""


def read_rows(folder: Path) -> Mapping[str, float]:
    started = time.perf_counter()
    with closing(sqlite3.connect(folder / JSON_FILE)) as connection:
        found = dict(row_of(*row) for row in connection.execute("SELECT * FROM records"))
    took = time.perf_counter() - started
    if len(found) != RECORDS + 1:
        raise SystemExit(f"{len(found)} records of {RECORDS} and a service")
    return {"cache.load_10k": took}


def row_of(key: str, text: str) -> tuple[Key, StoredRecord]:
    document = json.loads(text)
    record = StoredRecord(
        *Key.parse(key),
        base64.b64decode(document["packed"]),
        document["from_peer"],
        document["hops"],
        document["age"],
        bytes.fromhex(document["wave_id"]),
        document["at"],
    )
    return record.key, record


def forget(folder: Path) -> None:
    """Have the page cache hold none of the files."""
    for path in sorted(folder.glob("*.db")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


READERS: Mapping[str, Callable[[Path], Mapping[str, float]]] = {
    "cache": read_cache,
    "node": read_node,
    "json": read_rows,
}

if __name__ == "__main__":
    logs.configure(LogConfig(format="json"), node=ME)
    match sys.argv[1:]:
        case ["make", folder]:
            make(Path(folder))
        case [reader, folder] if reader in READERS:
            forget(Path(folder))
            print(json.dumps(READERS[reader](Path(folder))))
        case _:
            sys.exit(__doc__)
