"""fabricctl and fabric-inspect as typed: exit codes, JSON, and what they ask of a node."""

from __future__ import annotations

import base64
import json
import re

import pytest

from fabric.config import admin_socket_path
from services.authority import Authority

CTL = "cli.fabricctl"
INSPECT = "cli.fabric_inspect"
CHANNEL = "00000001" + "5e" * 12


@pytest.fixture
def open_node(fabric, open_fake_admin):
    """Return `open_node(name, answers)`: a fake admin socket in the place of the node's."""

    def open_(name, answers):
        return open_fake_admin(admin_socket_path(fabric.config(name)), answers)

    return open_


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["drain"],
        ["up", "--prot", "1"],
        ["up", "--port", "65536"],
        ["expose", "web", "no-address"],
        ["expose", "web", "127.0.0.1:80", "--open-to", "everybody"],
        ["expose", "web", "127.0.0.1:80", "--edge"],
        ["expose", "no name!", "127.0.0.1:80"],
        ["forward", "5432:no name!"],
        ["forward", "5432"],
        ["channel", "xyz"],
    ],
)
async def test_a_command_line_that_cannot_be_meant_exits_2(run_command, arguments):
    ran = await run_command(CTL, *arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err


@pytest.mark.parametrize(
    "arguments", [["nodes", "--nope"], ["channel"], ["nope"], ["stop"], ["forward", "5432"]]
)
def test_with_json_a_usage_mistake_is_json_too(run, arguments):
    ran = run(*arguments, "--json")
    assert ran.code == 2
    assert ran.err == ""
    error = ran.json["error"]
    assert all(error[each] for each in ("code", "message", "remedy"))


def test_who_stops_or_drains_is_named_by_its_place(run):
    for command in ("stop", "drain"):
        ran = run(command, "--json")
        assert "NODE" in ran.json["error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["drain", "home-1"], ["channels"], ["expose", "web", "127.0.0.1:80"]],
)
async def test_a_fabric_that_does_not_run_exits_3(run_command, arguments):
    assert (await run_command(CTL, *arguments)).code == 3


async def test_no_fabric_at_all_exits_3_and_says_how_to_make_one(run_command, tmp_path):
    ran = await run_command(CTL, "nodes", folder=tmp_path / "nowhere")
    assert ran.code == 3
    assert "fabricctl up" in ran.err


async def test_with_json_an_error_is_json_too(run_command, tmp_path):
    ran = await run_command(CTL, "nodes", "--json", folder=tmp_path / "nowhere")
    assert ran.code == 3
    assert set(ran.json["error"]) == {"code", "message", "remedy"}


async def test_a_name_that_is_no_node_exits_1_and_lists_the_nodes(run_command):
    ran = await run_command(CTL, "stop", "home-9")
    assert ran.code == 1
    assert "usa-los-1" in ran.err


async def test_the_fabric_is_found_from_a_folder_below(run_command, fabric, monkeypatch):
    below = fabric.root.parent / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    ran = await run_command(CTL, "status", "--json", FABRIC_DIR="")
    assert ran.json["fabric"] == str(fabric.root)


@pytest.mark.parametrize("command", ["nodes", "channels"])
async def test_a_file_with_mistakes_exits_1_and_is_named(run_command, fabric, command):
    path = fabric.config_file("home-1")
    path.write_text(path.read_text().replace("seeds = [", "seeds = [7, ", 1))
    ran = await run_command(CTL, command, "--json")
    assert ran.code == 1
    assert ran.json["error"]["code"] == "config_mistakes"
    assert str(path) in ran.json["error"]["message"]


async def test_status_of_what_never_ran(run_command):
    ran = await run_command(CTL, "status", "--json")
    states = {row["name"]: row["state"] for row in ran.json["processes"]}
    assert states == dict.fromkeys(
        ("backend", "edge-1", "home-1", "test-1", "usa-los-1"), "stopped"
    )


async def test_nodes_shows_the_key_that_the_nodes_record_holds(run_command, fabric):
    ran = await run_command(CTL, "nodes", "--json")
    keys = {node["name"]: node["public_key"] for node in ran.json["nodes"]}
    with Authority.open(fabric.authority, to_change=False) as authority:
        signed = {node.name: node.key_bytes.hex() for node in authority.nodes()}
    assert ran.code == 0
    assert keys == {name: signed[name] for name in fabric.names}
    assert keys["home-1"] in (await run_command(CTL, "nodes")).out


async def test_drain_asks_the_node(run_command, open_node):
    async with open_node("home-1", {("POST", "/v1/drain"): (202, {})}) as fake:
        ran = await run_command(CTL, "drain", "home-1", "--json")
    assert ran.json == {"node": "home-1", "state": "draining"}
    assert fake.asked == [("POST", "/v1/drain", None)]


async def test_a_refusal_exits_1_with_the_nodes_code_and_remedy(run_command, open_node):
    told = {"code": "not_allowed", "message": "Only the owner drains.", "remedy": "Be the owner."}
    async with open_node("home-1", {("POST", "/v1/drain"): (403, told)}):
        ran = await run_command(CTL, "drain", "home-1")
    assert ran.code == 1
    assert ran.err == "not_allowed: Only the owner drains.\n  remedy: Be the owner.\n"


async def test_channels_shows_each_end(run_command, open_node, a_snapshot, a_channel):
    edge = a_snapshot("edge-1", channels=[a_channel(1, direction="out")])
    far = a_snapshot("usa-los-1", channels=[a_channel(1)])
    async with (
        open_node("edge-1", {("GET", "/v1/snapshot"): (200, edge)}),
        open_node("usa-los-1", {("GET", "/v1/snapshot"): (200, far)}),
    ):
        ran = await run_command(CTL, "channels", "--json")
    found = {(one["node"], one["direction"], one["id"]) for one in ran.json["channels"]}
    assert found == {("edge-1", "out", CHANNEL), ("usa-los-1", "in", CHANNEL)}


async def test_channel_finds_ends_and_log_lines_by_the_start_of_the_id(
    run_command, open_node, a_snapshot, a_channel, fabric
):
    _log(fabric, "edge-1", {"time": "2026-01-01T00:00:02Z", "event": "ingress.closed"})
    _log(fabric, "usa-los-1", {"time": "2026-01-01T00:00:01Z", "event": "egress.closed"})
    _log(fabric, "home-1", {"time": "2026-01-01T00:00:01Z", "event": "x"}, channel="ff" * 16)
    far = a_snapshot("usa-los-1", channels=[a_channel(1)])
    async with open_node("usa-los-1", {("GET", "/v1/snapshot"): (200, far)}):
        ran = await run_command(CTL, "channel", CHANNEL[:8], "--json")
        text = (await run_command(CTL, "channel", CHANNEL)).out
    assert ran.json["id"] == CHANNEL
    assert [end["node"] for end in ran.json["ends"]] == ["usa-los-1"]
    assert [line["event"] for line in ran.json["log"]] == ["egress.closed", "ingress.closed"]
    assert "egress.closed" in text


async def test_a_channel_that_is_over_is_found_in_the_logs(
    run_command, open_node, a_snapshot, fabric
):
    _log(fabric, "edge-1", {"time": "2026-01-01T00:00:02Z", "event": "ingress.closed"})
    empty = a_snapshot("home-1", channels=[])
    async with open_node("home-1", {("GET", "/v1/snapshot"): (200, empty)}):
        assert (await run_command(CTL, "channel", CHANNEL)).code == 0
        assert (await run_command(CTL, "channel", "12345678")).code == 1


async def test_expose_says_what_it_did(run_command, open_node):
    async with open_node("test-1", {("POST", "/v1/services"): (201, {})}) as fake:
        ran = await run_command(
            CTL, "expose", "web", "127.0.0.1:8000", "--json", FABRIC_NODE="test-1"
        )
    assert ran.code == 0
    assert ran.json == {"service": "web", "node": "test-1", "backend": "127.0.0.1:8000"}
    assert fake.asked[0][2] == {"name": "web", "backend": "127.0.0.1:8000"}


async def test_expose_without_a_service_record_names_the_commands_that_make_one(
    run_command, open_node, fabric
):
    no = {"code": "offer_not_permitted", "message": "No record.", "remedy": "add one"}
    async with open_node("test-1", {("POST", "/v1/services"): (403, no)}):
        ran = await run_command(CTL, "expose", "web", "127.0.0.1:8000", "--json")
    assert ran.code == 1
    assert ran.json["error"]["code"] == "offer_not_permitted"
    add, publish = re.findall("fabricctl (.*)", ran.json["error"]["remedy"])
    assert "--offer-by node:test-1" in add
    assert (await run_command(CTL, *add.split())).code == 0
    taken = {("POST", "/v1/records"): (200, {})}
    async with open_node("home-1", taken) as home:
        assert (await run_command(CTL, *publish.split())).code == 0
    ((_, path, envelope),) = home.asked
    assert path == "/v1/records"
    assert envelope == json.loads((fabric.authority / "records/service/web.json").read_text())


PERMITTING = {("POST", "/v1/services"): (201, {}), ("POST", "/v1/records"): (200, {})}


def said_of(envelope):
    return json.loads(base64.b64decode(envelope["payload"]))


async def test_expose_open_to_somebody_has_it_signed_and_told_first(
    run_command, open_node, fabric
):
    async with open_node("test-1", PERMITTING) as fake:
        arguments = ("expose", "web", "127.0.0.1:8000", "--open-to", "area:usa", "--edge")
        assert (await run_command(CTL, *arguments)).code == 0
    (_, told, envelope), (_, exposed, _) = fake.asked
    assert (told, exposed) == ("/v1/records", "/v1/services")
    assert envelope == json.loads((fabric.authority / "records/service/web.json").read_text())
    said = said_of(envelope)
    assert said["offer_by"] == ["node:test-1"]
    assert said["open_to"] == ["area:usa"]
    assert said["edge_exposable"] is True


async def test_expose_open_to_others_leaves_what_else_was_said_of_it(
    run_command, open_node, fabric
):
    made = ("service", "add", "web", "--offer-by", "node:home-1", "--core", "--max-channels", "9")
    assert (await run_command(CTL, *made, "--open-to", "any", "--edge")).code == 0
    async with open_node("test-1", PERMITTING) as fake:
        arguments = ("expose", "web", "127.0.0.1:8000", "--open-to", "node:home-1")
        assert (await run_command(CTL, *arguments)).code == 0
    said = said_of(fake.asked[0][2])
    assert said["offer_by"] == ["node:home-1", "node:test-1"]
    assert said["open_to"] == ["node:home-1"]
    assert not said.get("edge_exposable", False)
    assert (said["core"], said["max_channels"]) == (True, 9)


async def test_expose_adds_nobody_who_may_offer_it_already(run_command, open_node, fabric):
    made = ("service", "add", "web", "--offer-by", "any", "--open-to", "node:home-1")
    assert (await run_command(CTL, *made)).code == 0
    async with open_node("test-1", PERMITTING) as fake:
        arguments = ("expose", "web", "127.0.0.1:8000", "--open-to", "any")
        assert (await run_command(CTL, *arguments)).code == 0
    assert said_of(fake.asked[0][2])["offer_by"] == ["any"]


async def test_unexpose_asks_the_default_node(run_command, open_node):
    async with open_node("test-1", {("DELETE", "/v1/services/web"): (200, {})}) as fake:
        assert (await run_command(CTL, "unexpose", "web")).code == 0
    assert fake.asked == [("DELETE", "/v1/services/web", None)]


async def test_forward_tells_each_line_until_the_node_ends_it(run_command, open_node):
    answer = {"listening": "127.0.0.1:5432"}
    async with open_node("home-1", {("POST", "/v1/forwards"): (200, answer)}) as fake:
        ran = await run_command(CTL, "forward", "5432:pg", "--json")
    assert ran.code == 1
    assert ran.json == answer
    assert fake.asked[0][2] == {"listen": "127.0.0.1:5432", "service": "pg"}


async def test_inspect_prints_one_frame_into_a_pipe(run_command, open_node, a_snapshot):
    async with open_node("usa-los-1", {("GET", "/v1/snapshot"): (200, a_snapshot())}):
        plain = await run_command(INSPECT, "usa-los-1")
        once = await run_command(INSPECT, "usa-los-1", "--once")
    assert plain.code == once.code == 0
    assert plain.out == once.out
    assert "\x1b" not in plain.out
    assert plain.out.startswith("usa-los-1  ready")
    assert max(map(len, plain.out.splitlines())) <= 80


async def test_inspect_json_is_the_snapshot(run_command, open_node, a_snapshot):
    async with open_node("home-1", {("GET", "/v1/snapshot"): (200, a_snapshot("home-1"))}):
        assert (await run_command(INSPECT, "--json")).json == a_snapshot("home-1")


async def test_inspect_takes_a_socket_of_any_node(
    run_command, open_fake_admin, a_snapshot, tmp_path
):
    path = tmp_path / "any.sock"
    async with open_fake_admin(path, {("GET", "/v1/snapshot"): (200, a_snapshot("far"))}):
        ran = await run_command(INSPECT, "--socket", path, "--svg", tmp_path / "a.svg")
    assert ran.code == 0
    assert "<svg" in (tmp_path / "a.svg").read_text()


async def test_inspect_of_a_node_that_is_not_there_exits_3(run_command, tmp_path):
    assert (await run_command(INSPECT, "--socket", tmp_path / "none")).code == 3
    assert (await run_command(INSPECT, "home-1", "--once")).code == 3


def _log(fabric, name, facts, channel=CHANNEL):
    with fabric.log_file(name).open("a") as log:
        log.write("a traceback, say\n" + json.dumps({**facts, "channel": channel}) + "\n")
