"""What the driver takes for granted of qh3: fails as soon as another release is installed."""

from __future__ import annotations

import ast
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest
from qh3 import _hazmat
from qh3._hazmat import QuicConnectionCore
from qh3.quic.connection import QuicConnection
from qh3.quic.tls_bridge import QuicTlsBridge

from fabric.trio_quic import Settings, _native, _packets, _tls

CORE_ARGUMENTS = (
    "is_client version local_addr remote_addr source_cid destination_cid peer_address_validated "
    "active_connection_id_limit max_datagram_size probe_datagram_size idle_timeout "
    "ack_delay_exponent max_datagram_frame_size peer_max_datagram_frame_size "
    "connection_receive_window connection_send_limit stream_receive_window "
    "stream_send_limit_bidi_local stream_send_limit_bidi_remote stream_send_limit_uni "
    "max_stream_reassembly local_max_streams_bidi local_max_streams_uni peer_max_streams_bidi "
    "peer_max_streams_uni initial_rtt max_ack_delay initial_time"
)

DEFINITIONS = [
    each for module in (_native, _tls) for each in ast.parse(inspect.getsource(module)).body
]


class Recorder:
    """A sink that keeps what it is told, as (name, arguments)."""

    def __init__(self):
        self.heard = []

    def on_peer_key(self, _key):
        return True

    def __getattr__(self, name):
        return lambda *args, **more: self.heard.append((name, args, more))

    def told(self, name):
        return [args for heard, args, _more in self.heard if heard == name]


def an_engine(identity, *, dialler, original_cid=None):
    shared = _tls.configuration(identity, Settings(), dialler=dialler)
    return _native.Engine(shared, Settings(), Recorder(), original_cid=original_cid)


def class_source(name):
    return next(
        node for node in DEFINITIONS if isinstance(node, ast.ClassDef) and node.name == name
    )


def names_on(node, *owners):
    """Names read off any of *owners*, each an expression as it is written."""
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) in owners
    }


def test_qh3_is_exactly_the_pinned_version():
    assert version("qh3") == _native.PINNED_VERSION


def test_every_private_name_that_is_listed_exists(dials):
    facade = QuicConnection(
        configuration=_tls.configuration(dials.identity, Settings(), dialler=True)
    )
    for owner, names in ((facade, "QuicConnection"), (QuicTlsBridge, "QuicTlsBridge")):
        listed = _native.PRIVATE_NAMES[names]
        assert [name for name in listed if not hasattr(owner, name)] == []


def test_every_private_name_that_is_used_is_listed(dials):
    stock = QuicConnection(
        configuration=_tls.configuration(dials.identity, Settings(), dialler=True)
    )
    used = names_on(class_source("Engine"), "self")
    used |= {node.name for node in class_source("Engine").body if hasattr(node, "name")}
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}
    taken = {name for name in private if hasattr(stock, name)}
    assert taken - set(_native.PRIVATE_NAMES["QuicConnection"]) == set()


def test_what_the_facade_does_not_have_the_engine_has(dials):
    engine = an_engine(dials.identity, dialler=True)
    used = names_on(class_source("Engine"), "self")
    assert {name for name in used if not hasattr(engine, name)} == set()


def test_the_tls_half_is_overridden_by_names_that_it_has():
    overridden = {node.name for node in class_source("Bridge").body if hasattr(node, "name")}
    assert overridden - {"__init__"} <= set(_native.PRIVATE_NAMES["QuicTlsBridge"])


def test_every_call_on_the_core_is_one_that_it_has():
    called = names_on(class_source("Engine"), "core", "self._core")
    assert {name for name in called if not hasattr(QuicConnectionCore, name)} == set()
    assert "poll_transmit" in called


def test_the_core_takes_its_28_arguments_in_the_expected_order():
    signature = QuicConnectionCore.__text_signature__.strip("()").split(", ")
    assert " ".join(signature) == CORE_ARGUMENTS
    assert len(signature) == 28


def test_the_engine_fills_all_28_of_them():
    calls = [
        node
        for node in ast.walk(class_source("Engine"))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "QuicConnectionCore"
    ]
    assert [len(call.args) for call in calls] == [28]


def test_every_event_that_is_handled_by_name_is_one_of_the_cores():
    # the names stand in the shared object, side by side
    binary = Path(_hazmat.__file__).read_bytes()
    handled = {*_native._HANDLERS, "stream_data"}
    assert {kind for kind in handled if kind.encode() not in binary} == set()


def shuttle(one, other, now):
    """Carry datagrams between two engines until neither has any."""
    while True:
        flights = [(one.poll(now, 128), other), (other.poll(now, 128), one)]
        if not any(datagrams for datagrams, _to in flights):
            return
        for datagrams, to in flights:
            for datagram in datagrams:
                to.feed(datagram, 0, now)


def handshaken(dials, accepts):
    """Return a dialler's and an acceptor's engine after their handshake."""
    dialler = an_engine(dials.identity, dialler=True)
    dialler.dial(now=1.0)
    first = dialler.poll(1.0, 128)
    original = _packets.initial_header(first[0])[0]
    acceptor = an_engine(accepts.identity, dialler=False, original_cid=original)
    for datagram in first:
        acceptor.feed(datagram, 0, 1.0)
    shuttle(dialler, acceptor, 1.01)
    return dialler, acceptor


def test_a_handshake_yields_the_acceptors_key(dials, accepts):
    dialler, acceptor = handshaken(dials, accepts)
    assert dialler._sink.told("on_handshake_completed") == [(accepts.public,)]
    assert acceptor._sink.told("on_handshake_completed") == [(None,)]


def test_both_ends_may_open_the_streams_that_settings_say(dials, accepts):
    for engine in handshaken(dials, accepts):
        for _ in range(_tls.MAX_UNIDIRECTIONAL):
            engine.open(unidirectional=True)
        with pytest.raises(ValueError, match="limit"):
            engine.open(unidirectional=True)
        for _ in range(Settings().max_streams):
            engine.open()
        with pytest.raises(ValueError, match="limit"):
            engine.open()
