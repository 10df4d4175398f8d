"""What the driver takes for granted of qh3: fails as soon as another release is installed."""

from __future__ import annotations

import ast
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest
from qh3 import _hazmat, tls
from qh3._hazmat import QuicConnectionCore
from qh3.quic.connection import QuicConnection
from qh3.quic.tls_bridge import QuicTlsBridge

from fabric.trio_quic import Settings, _handshake, _native, _packets, _tls

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
    each
    for module in (_native, _tls, _handshake)
    for each in ast.parse(inspect.getsource(module)).body
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


PRIVATE_NAMES = _native.PRIVATE_NAMES | _tls.PRIVATE_NAMES | _handshake.PRIVATE_NAMES

AES = tls.CipherSuite.AES_128_GCM_SHA256


def a_stock_bridge(dials):
    return QuicTlsBridge(
        _tls.configuration(dials.identity, Settings(), dialler=True),
        version=1,
        local_initial_source_connection_id=b"local",
    )


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
    bridge = a_stock_bridge(dials)
    for owner, names in (
        (facade, "QuicConnection"),
        (bridge, "QuicTlsBridge"),
        (bridge.tls, "Context"),
        (tls.KeySchedule(AES), "KeySchedule"),
    ):
        listed = PRIVATE_NAMES[names]
        assert [name for name in listed if not hasattr(owner, name)] == []


def test_every_private_name_that_is_used_is_listed(dials):
    stock = QuicConnection(
        configuration=_tls.configuration(dials.identity, Settings(), dialler=True)
    )
    used = names_on(class_source("Engine"), "self")
    used |= {node.name for node in class_source("Engine").body if hasattr(node, "name")}
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}
    taken = {name for name in private if hasattr(stock, name)}
    assert taken - set(PRIVATE_NAMES["QuicConnection"]) == set()


def test_what_the_facade_does_not_have_the_engine_has(dials):
    engine = an_engine(dials.identity, dialler=True)
    used = names_on(class_source("Engine"), "self")
    assert {name for name in used if not hasattr(engine, name)} == set()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("Bridge", "QuicTlsBridge"), ("Handshake", "Context"), ("Schedule", "KeySchedule")],
)
def test_the_tls_half_leans_on_listed_names_alone(dials, ours, theirs):
    bridge = a_stock_bridge(dials)
    stock = {
        "Bridge": bridge,
        "Handshake": bridge.tls,
        "Schedule": tls.KeySchedule(AES),
    }[ours]
    used = names_on(class_source(ours), "self")
    used |= {node.name for node in class_source(ours).body if hasattr(node, "name")}
    taken = {name for name in used if hasattr(stock, name) and not name.startswith("__")}
    public = {"configuration", "tls", "version"} | {
        name for name in taken if name.endswith(("_connection_id", "_token"))
    }
    assert taken - public <= set(PRIVATE_NAMES[theirs])


def test_the_key_schedule_makes_the_secrets_that_qh3_makes():
    ours, stock = _handshake.Schedule(AES), tls.KeySchedule(AES)
    for shared in (None, b"shared secret", None):
        for schedule in (ours, stock):
            schedule.extract(shared)
            schedule.update_hash(b"message")
        assert ours.secret == stock.secret
        assert ours.derive_secret(b"s hs traffic") == stock.derive_secret(b"s hs traffic")
        assert ours.finished_verify_data(b"key") == stock.finished_verify_data(b"key")


@pytest.mark.parametrize("version", [1, 0x6B3343CF])
@pytest.mark.parametrize("suite", _tls.CIPHER_SUITES)
def test_packet_keys_are_those_that_qh3_makes(dials, suite, version):
    def made(bridge):
        bridge.version = version
        bridge._on_traffic_secret(tls.Direction.ENCRYPT, tls.Epoch.ONE_RTT, suite, b"s" * 32)
        return bridge.next_traffic_secret()

    ours = _tls.Bridge(
        _tls.configuration(dials.identity, Settings(), dialler=True),
        limits=Settings(),
        version=1,
        local_initial_source_connection_id=b"local",
    )
    assert made(ours) == made(a_stock_bridge(dials))


def hello_of(dials):
    """Return a dialler's ClientHello as bytes and as qh3 reads it."""
    bridge = _tls.Bridge(
        _tls.configuration(dials.identity, Settings(), dialler=True),
        limits=Settings(),
        version=1,
        local_initial_source_connection_id=b"local",
    )
    bridge.start()
    said = bridge.next_crypto_data().data
    return said, tls.pull_client_hello(_hazmat.Buffer(data=said))


def test_a_dialler_offers_what_nodes_take_and_no_more(dials):
    _said, hello = hello_of(dials)
    assert hello.cipher_suites == _tls.CIPHER_SUITES
    groups = [tls.Group.X25519ML768, tls.Group.X25519]
    assert [group for group, _key in hello.key_share] == groups
    assert hello.supported_groups == groups
    assert hello.signature_algorithms == [tls.SignatureAlgorithm.ED25519]
    assert hello.supported_versions == [tls.TLS_VERSION_1_3]
    assert hello.alpn_protocols == [Settings().alpn]
    assert hello.server_name == _tls.SERVER_NAME
    assert [kind for kind, _value in hello.other_extensions] == [
        tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS
    ]


class Stock(_handshake.Handshake):
    """Leaves hellos to qh3, as it answers whoever is no node."""

    def _is_a_nodes(self, _hello, _share):
        return False


def test_an_acceptor_answers_a_node_with_the_messages_that_qh3_would_say(dials, accepts):
    said, _hello = hello_of(dials)

    def flight(kind):
        bridge = _tls.Bridge(
            _tls.configuration(accepts.identity, Settings(), dialler=False),
            limits=Settings(),
            version=1,
            local_initial_source_connection_id=b"ours",
            remote_initial_source_connection_id=b"local",
            stateless_reset_token=b"t" * 16,
        )
        bridge.tls.__class__ = kind
        bridge.receive_crypto(tls.Epoch.INITIAL, said, 0)
        first, second = bridge.next_crypto_data().data, bridge.next_crypto_data().data
        answer = tls.pull_server_hello(_hazmat.Buffer(data=first))
        return answer, len(first), second, bridge.tls.state

    (ours, size, rest, state), (stock, stock_size, stock_rest, stock_state) = (
        flight(_handshake.Handshake),
        flight(Stock),
    )
    assert (ours.cipher_suite, ours.key_share[0]) == (stock.cipher_suite, stock.key_share[0])
    assert (size, len(rest), state) == (stock_size, len(stock_rest), stock_state)
    sealed = rest.index(b"\x0f\x00\x00")  # CertificateVerify: from there on it differs by nature
    assert rest[:sealed] == stock_rest[:sealed]


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
