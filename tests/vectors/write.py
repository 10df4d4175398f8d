"""Writes the frozen vectors anew: run it only when a format is meant to change; read the diff.

``python tests/vectors/write.py``
"""

import json
from pathlib import Path

from fabric.core.codec import encode
from fabric.core.codec.envelopes import envelope_to_json, pack_envelope
from fabric.core.codec.records import encode_record
from fabric.core.envelope import sign_payload
from fabric.core.frames import KNOWN
from fabric.core.records import Role
from fabric.testing.factories import some_frames
from fabric.testing.records import (
    AFabric,
    later_payloads,
    public,
    signed,
    some_bare_records,
    some_records,
)

VECTORS = Path(__file__).parent


def frames():
    spelled = {kind.__name__: [] for kind in KNOWN.values()}
    for frame in some_frames():
        spelled[type(frame).__name__].append(encode(frame).hex())
    return {
        "types": {kind.__name__: kind.TYPE for kind in KNOWN.values()},
        "bytes": spelled,
    }


def records():
    return {
        "full": {each.KIND: encode_record(each).decode() for each in some_records()},
        "bare": {each.KIND: encode_record(each).decode() for each in some_bare_records()},
        "later": {name: payload.decode() for name, payload in later_payloads().items()},
        "envelopes": {
            name: {"packed": pack_envelope(each).hex(), "json": envelope_to_json(each)}
            for name, each in envelopes().items()
        },
    }


def envelopes():
    fabric = AFabric()
    key = fabric.node_key("home-1")
    return {
        "of the directory": fabric.signed(fabric.node("home-1")),
        "of the root": fabric.signed(fabric.root()),
        "of a node": fabric.signed(fabric.offers("home-1", "demo")),
        "of a later kind": signed(
            later_payloads()["a kind of the directory"], *fabric.enough(Role.DIRECTORY)
        ),
        "of another type": sign_payload(
            b"anything", public(key), lambda message: key.sign(message).signature, "text/plain"
        ),
    }


if __name__ == "__main__":
    for name, made in {"frames": frames(), "records": records()}.items():
        (VECTORS / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")
