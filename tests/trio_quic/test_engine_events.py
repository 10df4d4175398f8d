"""When events are taken from the engine: not while a frame that is packed may outlive its stream.

Two engines without endpoints: each test decides what is polled when, and what arrives.
"""

from __future__ import annotations

import pytest

from fabric.trio_quic import Settings, _native, _packets, _tls

LIMIT = 128
"""Datagrams of a flush."""

UNPACKED = 64
"""Datagrams unpacked at most for events; fewer than else, so that little is more than that."""

FULL = 1100
"""Bytes of a stream that fill a datagram but for a few."""


class Heard:
    """A sink that keeps what it is told, as (name, arguments)."""

    def __init__(self):
        self.events = []

    def on_peer_key(self, _key):
        return True

    def __getattr__(self, name):
        return lambda *args, **more: self.events.append((name, *args))


class Link:
    """Two engines after their handshake, `near` and `far`, and a clock."""

    def __init__(self, dials, accepts):
        self.now = 1.0
        self.near = self._engine(dials, dialler=True)
        self.near.dial(self.now)
        first = self.near.poll(self.now, LIMIT)
        cid = _packets.initial_header(first[0])[0]
        self.far = self._engine(accepts, dialler=False, original_cid=cid)
        self.carry(first, self.far)
        self.settle()

    def _engine(self, keyed, *, dialler, original_cid=None):
        shared = _tls.configuration(keyed.identity, Settings(), dialler=dialler)
        return _native.Engine(shared, Settings(), Heard(), original_cid=original_cid)

    def carry(self, datagrams, to):
        for datagram in datagrams:
            to.feed(datagram, 0, self.now)

    def acknowledge(self, one, other):
        """Have *other* hear what *one* received, which takes as long as *one* may wait."""
        self.now += 0.03
        self.carry(self.poll(one), other)

    def poll(self, engine, limit=LIMIT):
        return engine.poll(self.now, limit)

    def fire(self, engine):
        self.now = max(self.now, engine.next_timer(self.now + 10))
        engine.on_timer(self.now)

    def settle(self):
        """Let all that is said arrive and be acknowledged, 10 ms each way."""
        silent = 0
        while silent < 4:
            silent += 1
            for one, other in ((self.near, self.far), (self.far, self.near)):
                if flight := self.poll(one):
                    silent = 0
                self.now += 0.01
                self.carry(flight, other)
                if one.next_timer(self.now + 10) <= self.now:
                    self.fire(one)

    def widen(self, datagrams):
        """Grow the near engine's congestion window until so many find room."""
        stream = self.near.open()
        while self.near.window_room(0) < datagrams * Settings().max_datagram_bytes:
            self.near.send(stream, bytes(20 * FULL), fin=False)
            self.settle()

    def half_open(self):
        """Return a stream of which only the far engine's direction is left."""
        stream = self.near.open()
        self.near.send(stream, b"!", fin=True)
        self.settle()
        return stream

    def crowd(self, engine, size):
        """Have so many streams of *engine* send a datagram each."""
        for stream in [engine.open() for _ in range(size)]:
            engine.send(stream, bytes(FULL), fin=False)


@pytest.fixture
def link(dials, accepts, monkeypatch):
    monkeypatch.setattr(_native, "MAX_UNPACKED", UNPACKED)
    return Link(dials, accepts)


def told(engine, name):
    return [event[1] for event in engine._sink.events if event[0] == name]


def finished(engine):
    return told(engine, "on_stream_finished")


def leave_packed_a_stop(link, *, at):
    """Ask the end of a stream whose end is on its way, as the *at*-th of many to speak."""
    stream = link.half_open()
    link.crowd(link.near, at - 1)
    link.near.stop(stream, 5)
    link.crowd(link.near, 200 - at)
    link.poll(link.near, 1)
    link.far.send(stream, b"the end", fin=True)
    link.carry(link.poll(link.far), link.near)
    return stream


@pytest.mark.parametrize("at", [2, 16, 66, 75, 80])
def test_a_stop_leaves_before_its_stream_goes_however_much_is_to_be_sent(link, at):
    """Frames are packed by sixteens; those of the fifth are when no more may be unpacked."""
    link.widen(250)
    stream = leave_packed_a_stop(link, at=at)
    assert finished(link.near) == []
    link.settle()
    assert stream in finished(link.near)


def test_what_was_held_back_is_due_as_soon_as_nothing_is_packed(link):
    link.widen(250)
    stream = leave_packed_a_stop(link, at=75)
    while len(link.poll(link.near)) == LIMIT:
        assert finished(link.near) == []
    assert link.near.next_timer(link.now + 10) <= link.now
    link.near.on_timer(link.now)
    assert finished(link.near) == [stream]
    assert link.near.next_timer(link.now + 10) > link.now


def test_a_copy_leaves_before_its_stream_goes_however_often_it_was_made(link):
    """A stream's end is lost, and the probe's copy of it; the third is late, a fourth packed."""
    stream = link.half_open()
    link.far.send(stream, b"the end", fin=True)
    link.poll(link.far)  # lost
    link.fire(link.far)
    _copy, *probe = link.poll(link.far)  # the copy is lost, too
    link.carry(probe, link.near)
    link.acknowledge(link.near, link.far)
    late = link.poll(link.far)
    link.far.ping(1)
    link.carry(link.poll(link.far), link.near)
    link.crowd(link.far, 14)
    link.acknowledge(link.near, link.far)
    assert link.far._core.loss_total == 2
    packed = link.poll(link.far)
    assert len(packed) < 14  # no more fit the window
    link.carry(late, link.near)
    link.acknowledge(link.near, link.far)
    assert finished(link.far) == []
    link.carry(packed, link.near)
    link.settle()
    assert finished(link.far) == [stream]


def test_once_all_arrived_after_a_probe_timeout_events_are_taken_again_beside_what_is_packed(link):
    link.far.ping(1)
    link.poll(link.far)  # lost
    link.fire(link.far)
    link.settle()
    hears_while_packed(link)


def test_where_nothing_was_lost_or_cut_short_events_are_taken_beside_what_is_packed(link):
    hears_while_packed(link)


def hears_while_packed(link):
    stream = link.half_open()
    link.crowd(link.far, 30)
    assert len(link.poll(link.far)) < 30
    other = link.near.open()
    link.near.send(other, b"a word", fin=False)
    link.carry(link.poll(link.near), link.far)
    assert told(link.far, "on_stream_data") == [stream, other]
