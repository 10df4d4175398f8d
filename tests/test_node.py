"""Whole nodes over real UDP on loopback, and what a node says of itself."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import trio

import fabric
from fabric.codes import Code
from fabric.core.planes import PlaneState
from fabric.errors import ChannelBroken, ConfigError
from fabric.node import open_node
from fabric.testing.pairs import Fleet, connected, offered


async def echo(channel):
    while data := await channel.receive_some():
        await channel.send_all(data)


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.add("home")
    fleet.add("away")
    return fleet


async def test_a_channel_over_real_sockets(fleet, nursery):
    async with fleet.open("away") as away, fleet.open("home") as home:
        await nursery.start(away.serve, "demo", echo)
        await connected(home, "away")
        await offered(home, "demo", "away")
        payload = os.urandom(5_000_000)
        async with home.open_channel("demo") as channel, trio.open_nursery() as sending:

            async def send():
                await channel.send_all(payload)
                await channel.send_eof()

            sending.start_soon(send)
            got = bytearray()
            while data := await channel.receive_some():
                got += data
        assert got == payload
        nursery.cancel_scope.cancel()


async def test_nothing_is_left_of_a_thousand_channels(fleet, nursery):
    async with fleet.open("away") as away, fleet.open("home") as home:
        await nursery.start(away.serve, "demo", echo)
        await connected(home, "away")
        await offered(home, "demo", "away")
        await connected(away, "home")
        before = trio.lowlevel.current_statistics().tasks_living
        (link,) = home.overlay.peers.standing_links()
        streams = link.connection.stream_count

        async def use(limit, number):
            async with limit, home.open_channel("demo") as channel:
                await channel.send_all(b"x")
                if number % 100 == 0:
                    channel.reset(Code.CLIENT_GONE)
                else:
                    assert await channel.receive_some() == b"x"

        limit = trio.CapacityLimiter(50)
        async with trio.open_nursery() as users:
            for number in range(1000):
                users.start_soon(use, limit, number)
        with trio.move_on_after(5):
            await away.channels.wait_empty()
            await _until(lambda: link.connection.stream_count <= streams)
        assert len(home.channels) == len(away.channels) == 0
        assert link.connection.stream_count <= streams
        assert trio.lowlevel.current_statistics().tasks_living <= before
        assert home.opener.loads.of(away.node_id, "demo") == 0
        nursery.cancel_scope.cancel()


async def _until(condition):
    while not condition():  # the driver tells nobody that a stream has ended
        await trio.sleep(0.02)


SERVER = """
import sys, trio
from pathlib import Path
from fabric.testing.pairs import Fleet

async def echo(channel):
    while data := await channel.receive_some():
        await channel.send_all(data)

async def main(folder, home, away):
    fleet = Fleet(Path(folder))
    fleet.add("home", address=("127.0.0.1", home))
    fleet.add("away", address=("127.0.0.1", away))
    async with fleet.open("away") as node:
        await node.serve("demo", echo)

trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


def start_away(fleet):
    ports = [str(fleet.members[name].address[1]) for name in ("home", "away")]
    root = os.path.dirname(os.path.dirname(fabric.__file__))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER), str(fleet.folder), *ports],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def test_a_killed_process_breaks_its_channels_and_the_next_works_within_two_seconds(fleet):
    away = start_away(fleet)
    try:
        async with fleet.open("home") as home:
            with trio.fail_after(10):
                await connected(home, "away")
                await offered(home, "demo", "away")
                await _until_open(home)
            codes = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_hold, home, codes)
                await trio.sleep(0.5)
                away.send_signal(signal.SIGKILL)
                away.wait()
                killed_at = trio.current_time()
                away = start_away(fleet)
                await _until_open(home)
                took = trio.current_time() - killed_at
            assert codes[0] in {Code.REPLACED, Code.FORGOTTEN}
        # Python needs half a second to start on a busy machine; the rest is ours.
        assert took < 4.0
    finally:
        away.kill()
        away.wait()


async def _hold(home, codes):
    try:
        async with home.open_channel("demo") as channel:
            await channel.receive_some()
    except ChannelBroken as broken:
        codes.append(broken.code)


async def _until_open(home):
    """Try as a client would, until a byte makes the round trip."""
    while True:
        try:
            async with home.open_channel("demo", deadline=1.0) as channel:
                await channel.send_all(b"x")
                assert await channel.receive_some() == b"x"
                return
        except (fabric.RefusedError, ChannelBroken):
            await trio.sleep(0.05)


async def test_a_node_is_opened_from_its_file(fleet, tmp_path):
    config = fleet.config("home")
    file = tmp_path / "home.toml"
    file.write_text(
        f'[node]\nname = "home"\ntrust_root = "{config.trust_root}"\n'
        f'key = "{config.key_file}"\nstate_dir = "{tmp_path}/state"\n'
        '[quic]\nlisten = "127.0.0.1:0"\n'
    )
    async with open_node(str(file)) as node:
        assert node.name == "home"
        assert node.snapshot()["node"]["listen"].startswith("127.0.0.1:")


async def test_a_bad_file_says_all_that_is_wrong_with_it(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text('[node]\nname = ""\n')
    with pytest.raises(ConfigError) as raised:
        async with open_node(file):
            pass
    assert len(raised.value.mistakes) > 1


async def test_a_missing_key_is_told_before_anything_starts(fleet, tmp_path):
    with pytest.raises(ConfigError, match=r"node\.key"):
        async with open_node(fleet.config("home", key_file=tmp_path / "node.key")):
            pass


async def test_roles_are_planes_of_the_node(fleet):
    async def role(node, config, *, task_status):
        task_status.started(f"steering {config.name}")
        await trio.sleep_forever()

    config = fleet.config("home")
    async with open_node(
        config, roles={"egress": role}, transport=fleet.transport("home")
    ) as node:
        assert node.roles["egress"] == "steering home"
        planes = {row["name"]: row["state"] for row in node.snapshot()["planes"]}
        assert set(planes.values()) == {"running"}
        assert planes.keys() == {
            "admission", "seeds", "peers", "gossip", "sync", "liveness", "neighbours",
            "own_words", "clocks", "registry", "egress",
        }  # fmt: skip
    assert {plane.state for plane in node.planes.view(0.0)} == {PlaneState.STOPPED}


async def test_boot_seq_rises_with_every_start(fleet):
    seen = []
    for _ in range(3):
        async with fleet.open("home") as node:
            seen.append(node.me.boot_seq)
    assert seen == sorted(set(seen))


async def test_a_damaged_boot_file_is_not_guessed_at(fleet):
    config = fleet.config("home")
    config.state_dir.mkdir(parents=True)
    (config.state_dir / "boot.json").write_text('{"boot_seq": "yesterday"}')
    with pytest.raises(ConfigError, match="boot_seq"):
        async with open_node(config):
            pass


async def test_the_snapshot_is_plain_json_with_every_part(fleet, nursery):
    async with fleet.open("away") as away, fleet.open("home") as home:
        await nursery.start(away.serve, "demo", echo)
        await connected(home, "away")
        await offered(home, "demo", "away")
        async with home.open_channel("demo"):
            snapshot = json.loads(json.dumps(home.snapshot(), allow_nan=False))
        assert snapshot["v"] == 1
        assert snapshot.keys() == {
            "v", "node", "health", "peers", "channels", "planes", "services", "listeners",
            "counters",
        }  # fmt: skip
        assert snapshot["node"]["state"] == "ready"
        (peer,) = snapshot["peers"]
        assert peer["offers"] == ["demo"]
        (channel,) = snapshot["channels"]
        assert (channel["direction"], channel["peer"]) == ("out", "away")
        assert snapshot["counters"]["quic_datagrams_received"] > 0
        body, _ = home.metrics.render()
        assert b"fabric_channels_opened_total" in body
        nursery.cancel_scope.cancel()


async def test_a_nodes_secrets_are_in_nothing_that_it_shows(fleet):
    async with fleet.open("home") as node:
        seed = fleet.members["home"].key.seed
        shown = json.dumps(node.snapshot()) + repr(node.config) + repr(node.me) + repr(vars(node))
        assert seed.hex() not in shown
        assert repr(seed) not in shown


async def test_a_stop_is_a_wish_that_the_owner_of_the_node_grants(fleet):
    async with fleet.open("home") as node:
        node.stop()
        await node.stopping.wait()


def test_the_facade_names_what_a_program_needs():
    for name in fabric.__all__:
        assert getattr(fabric, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = fabric.no_such_name


def test_importing_the_facade_loads_no_engine_and_no_painter():
    program = (
        "import fabric, sys\n"
        "print([m for m in ('qh3', 'trio', 'rich', 'starlette') if m in sys.modules])"
    )
    root = os.path.dirname(os.path.dirname(fabric.__file__))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.stdout.strip() == "[]"


def test_a_node_imports_no_web_framework_and_makes_no_certificates():
    program = (
        "import sys; sys.modules['rich'] = None\n"
        "import fabric.node\n"
        "print([m for m in ('starlette','cryptography','prometheus_client')"
        " if m in sys.modules])"
    )
    root = os.path.dirname(os.path.dirname(fabric.__file__))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.stdout.strip() == "[]"
