"""10,000 signed records on a disk, and how long a process takes until it can use them.

    cold_disk.py make FOLDER            writes them, as our cache and as rows of JSON
    cold_disk.py cache FOLDER           our cache, then judged; prints {figure: seconds}
    cold_disk.py json FOLDER            a table of JSON documents, as one would write it first

The page cache is asked to forget the files before they are read. Each reads in a process of its
own, whose imports do not count.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import structlog
import trio

from fabric.core.clocks import Times
from fabric.core.codec.envelopes import pack_envelope, unpack_envelope
from fabric.core.envelope import Envelope
from fabric.core.records import Key, NodeRecord, Record
from fabric.core.trust import Accepted, Trust
from fabric.store.kept import Snapshot, StoredRecord
from fabric.store.peer_cache import CACHE_FILE, open_peer_cache
from fabric.testing.records import BORN, FABRIC_ID, AFabric

RECORDS = 10_000
OF_ONE_NODE = 4
JSON_FILE = "rows.db"
FIRST = (NodeRecord.KIND, "service", "policy", "control_endpoints")
"""Kinds that are judged before what nodes say of themselves."""


# -- making --
def make(folder: Path) -> None:
    records = list(some_records(AFabric()))
    trio.run(fill_cache, folder, records)
    fill_rows(folder / JSON_FILE, records)


def some_records(fabric: AFabric) -> Iterator[StoredRecord]:
    for number in range(RECORDS // OF_ONE_NODE):
        name = f"node-{number:04}"
        said: tuple[Record, ...] = (
            fabric.node(name, roles=("egress",), labels={"tier": "gold"}, site_id="cellar"),
            fabric.endpoint(name, "192.0.2.1:4433", "[2001:db8::1]:4433"),
            fabric.offers(name, "demo", "logs"),
            fabric.sightings(name),
        )
        for record in said:
            packed = pack_envelope(fabric.signed(record))
            yield StoredRecord(
                *record.key, packed, fabric.node_id(name), 2, 0.125, b"wave-id.", float(BORN)
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
    loaded = time.perf_counter()
    judged = judge(found)
    ended = time.perf_counter()
    if judged != RECORDS:
        raise SystemExit(f"{judged} records of {RECORDS} were accepted")
    return {"cache.load_10k": loaded - started, "cache.judged_10k": ended - started}


async def load(path: Path) -> Snapshot:
    async with open_peer_cache(path) as cache:
        return await cache.load()


def judge(found: Snapshot) -> int:
    """Return how many of the records count: as a starting node would find out."""
    trust = Trust(FABRIC_ID, unpack_envelope(found.roots[0].packed))
    keys: dict[str, bytes] = {}
    now, accepted = Times(local=BORN + 1), 0
    for record in sorted(found.records, key=lambda each: each.kind not in FIRST):
        envelope: Envelope = unpack_envelope(record.packed)
        match trust.judge(envelope, now, key_of=keys.get, held=True):
            case Accepted(record=NodeRecord() as node):
                keys[node.node_id] = node.key_bytes
                accepted += 1
            case Accepted():
                accepted += 1
    return accepted


def read_rows(folder: Path) -> Mapping[str, float]:
    started = time.perf_counter()
    with closing(sqlite3.connect(folder / JSON_FILE)) as connection:
        found = dict(row_of(*row) for row in connection.execute("SELECT * FROM records"))
    took = time.perf_counter() - started
    if len(found) != RECORDS:
        raise SystemExit(f"{len(found)} records of {RECORDS}")
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
    "json": read_rows,
}

if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    match sys.argv[1:]:
        case ["make", folder]:
            make(Path(folder))
        case [reader, folder] if reader in READERS:
            forget(Path(folder))
            print(json.dumps(READERS[reader](Path(folder))))
        case _:
            sys.exit(__doc__)
