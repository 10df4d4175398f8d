"""SIGHUP at an ingress: what did not change goes on, and a bad file changes nothing."""

from __future__ import annotations

import signal

import pytest
import trio

from tests.lab.daemons import free_port, until
from tests.lab.tcp_ends import (
    MIB,
    ask,
    connect,
    echoes,
    is_reset,
    pattern_hash,
    receive_all,
    receive_exactly,
    receive_hash,
)

pytestmark = pytest.mark.slow

MOVED_MIB = 64


async def reload(daemon):
    """SIGHUP once its file says what its document says; return the line that tells of it."""
    daemon.write()
    before = len(daemon.lines("config.reloaded"))
    await daemon.signal(signal.SIGHUP)
    await until(lambda: len(daemon.lines("config.reloaded")) > before)
    return daemon.lines("config.reloaded")[-1]


async def finish(download):
    with trio.fail_after(10):
        assert await receive_hash(download) == pattern_hash(MOVED_MIB - 1)


async def test_a_reload_touches_only_the_listeners_that_changed(start_path):
    path = await start_path()
    edge, listeners = path.edge, path.edge.document["listeners"]
    with await ask(path.address, "say", MOVED_MIB) as download:
        await receive_exactly(download, MIB)

        added = f"127.0.0.1:{free_port()}"
        listeners.append({"listen": added, "service": "demo"})
        assert (await reload(edge))["needs_restart"] == []
        assert await echoes(added)
        assert edge.lines("listener.changed") == []

        with await ask(added, "say", MOVED_MIB) as of_the_added:
            await receive_exactly(of_the_added, MIB)
            listeners.pop()
            await reload(edge)
            with pytest.raises(ConnectionRefusedError):
                await connect(added)
            await finish(of_the_added)

        await finish(download)
    assert edge.lines("ingress.closed", code="done")
    assert not [line for line in edge.lines("ingress.closed") if line["code"] != "done"]


async def test_a_changed_limit_holds_for_what_comes_and_not_for_what_is_open(start_path):
    path = await start_path()
    with (
        await ask(path.address, "say", MOVED_MIB) as one,
        await ask(path.address, "say", MOVED_MIB) as two,
    ):
        for download in (one, two):
            await receive_exactly(download, MIB)
        path.edge.document["listeners"][0]["max_connections"] = 1
        await reload(path.edge)
        assert path.edge.lines("listener.changed", listen=path.address)
        with is_reset(within=1), await connect(path.address) as one_more:
            await receive_all(one_more)
        await finish(one)
        await finish(two)
    with trio.fail_after(5):
        await until(lambda: echoes(path.address))


async def test_a_bad_file_keeps_the_old_configuration_and_says_what_is_wrong(lab, start_path):
    lab.expected.add("config.refused")
    path = await start_path()
    edge, (listener,) = path.edge, path.edge.document["listeners"]
    with await ask(path.address, "say", MOVED_MIB) as download:
        await receive_exactly(download, MIB)
        good = dict(listener)
        listener |= {"max_connections": 0, "servise": "demo"}
        edge.write()
        await edge.signal(signal.SIGHUP)
        refused = await edge.logged("config.refused")
        assert any("max_connections" in mistake for mistake in refused["mistakes"])
        assert any("servise" in mistake for mistake in refused["mistakes"])
        await finish(download)
    assert await echoes(path.address)

    edge.config_file.write_text("this is no TOML")
    await edge.signal(signal.SIGHUP)
    await until(lambda: len(edge.lines("config.refused")) == 2)
    assert await echoes(path.address)

    listener.clear()
    listener |= good
    assert (await reload(edge))["needs_restart"] == []


async def test_a_listener_that_cannot_be_had_leaves_all_as_it_was(lab, start_path):
    lab.expected.add("config.refused")
    path = await start_path()
    listeners = path.edge.document["listeners"]
    fine, taken = f"127.0.0.1:{free_port()}", path.away.document["services"]["demo"]["backend"]
    listeners += [{"listen": listen, "service": "demo"} for listen in (fine, taken)]
    path.edge.write()
    await path.edge.signal(signal.SIGHUP)
    refused = await path.edge.logged("config.refused")
    assert any(taken in mistake for mistake in refused["mistakes"])
    with pytest.raises(ConnectionRefusedError):
        await connect(fine)
    assert await echoes(path.address)
