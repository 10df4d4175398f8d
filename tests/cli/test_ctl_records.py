"""fabricctl record: what a signed file says, whether it counts, and handing it to a node."""

from __future__ import annotations

import json

import pytest
import trio

from fabric.net.tls import NodeKey

KEY = NodeKey.from_seed(bytes(range(32))).public.hex()


def test_record_show_shows_what_was_signed_by_file_and_by_key(run, fab):
    run("service", "add", "web", "--open-to", "any")
    for what in ("records/service/web.json", "service/web"):
        shown = run("record", "show", what, "--json").json
        assert shown["key"] == "service/web"
        assert shown["order"] == [0, 1]
        assert shown["says"]["open_to"] == ["any"]
        assert len(shown["signed_by"]) == 1
    told = run("record", "show", "service/web").out
    assert '"open_to"' in told
    assert "checked: fabricctl record verify records/service/web.json" in told.splitlines()[-1]


def test_record_show_of_what_is_no_record_exits_1(run, fab):
    (fab / "x.json").write_text("{}")
    ran = run("record", "show", "x.json", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "record_malformed")


def test_a_record_that_was_cut_short_on_its_way_says_to_copy_it_again(run, fab):
    run("service", "add", "web", "--open-to", "any")
    whole = (fab / "records" / "service" / "web.json").read_bytes()
    (fab / "x.json").write_bytes(whole[:-20])
    ran = run("record", "show", "x.json", "--json")
    assert ran.json["error"]["code"] == "record_malformed"
    assert "copy it again, whole" in ran.json["error"]["remedy"]


def test_record_verify_without_a_file_checks_all_that_is_in_the_folder(run, fab):
    run("node", "add", "home-1", "--area", "home", "--key", KEY)
    run("directory", "rekey")
    run("revoke", "node", "home-1")
    ran = run("record", "verify", "--json")
    assert ran.code == 0
    assert [one["key"].split("/")[0] for one in ran.json["records"]] == [
        "trust_root",
        "trust_root",
        "node",
    ]
    assert "good, a tombstone" in run("record", "verify").out


def test_record_verify_goes_by_the_roots_that_it_is_given(run, fab, tmp_path, monkeypatch):
    run("service", "add", "web", "--open-to", "any")
    run("directory", "rekey")
    run("service", "add", "late", "--open-to", "any")
    web, late = fab / "records/service/web.json", fab / "records/service/late.json"
    first, second = fab / "roots/0001.json", fab / "roots/0002.json"
    monkeypatch.chdir(tmp_path)
    assert run("record", "verify", web, "--root", first).code == 0
    ran = run("record", "verify", web, late, "--root", first)
    assert ran.code == 1
    assert "late.json  unknown_signer" in ran.out
    assert "remedy" in ran.out
    assert run("record", "verify", web, late, "--root", first, "--root", second).code == 0


def test_every_file_that_a_rekey_publishes_counts_in_that_order(run, fab):
    run("service", "add", "web", "--open-to", "any")
    files = run("directory", "rekey", "--compromised", "--json").json["publish"]
    assert run("record", "verify", *files, "--root", "roots/0001.json").code == 0


def test_a_root_that_is_not_good_is_told_too(run, fab):
    run("service", "add", "web", "--open-to", "any")
    service = "records/service/web.json"
    ran = run("record", "verify", "root.json", "--root", service, "--json")
    assert ran.code == 1
    assert [(one["key"], one["good"]) for one in ran.json["records"]] == [
        ("service/web", False),
        ("trust_root/fabric", True),
    ]


@pytest.fixture
def published(run, open_fake_admin, tmp_path):
    """Return `await published(answers, *arguments)`: how publish ended, and what the node got."""

    async def published_(answers, *arguments):
        socket = tmp_path / "a.sock"
        async with open_fake_admin(socket, answers) as fake:
            typed = ("record", "publish", *arguments, "--socket", socket)
            ran = await trio.to_thread.run_sync(run, *typed)
        return ran, fake.asked

    return published_


TAKEN = {("POST", "/v1/records"): (200, {})}


async def test_publish_hands_over_each_file_as_it_is_in_the_order_given(run, fab, published):
    run("service", "add", "web", "--open-to", "any")
    files = ["records/service/web.json", "root.json"]
    ran, asked = await published(TAKEN, *files)
    assert ran.code == 0
    assert ran.out == "records/service/web.json  taken\nroot.json  taken\n"
    bodies = [json.loads((fab / file).read_text()) for file in files]
    assert asked == [("POST", "/v1/records", body) for body in bodies]


async def test_publish_all_hands_over_every_root_before_every_record(run, fab, published):
    run("service", "add", "web", "--open-to", "any")
    run("root", "rotate")
    ran, asked = await published(TAKEN, "--all", "--json")
    assert [fab / one["file"] for one in ran.json["records"]] == [
        fab / "roots" / "0001.json",
        fab / "roots" / "0002.json",
        fab / "records" / "service" / "web.json",
    ]
    assert len(asked) == 3


async def test_what_a_node_refuses_exits_1_with_its_code_and_remedy(run, fab, published):
    told = {"code": "forged", "message": "No.", "remedy": "Suspect somebody."}
    ran, asked = await published({("POST", "/v1/records"): (400, told)}, "--all", "root.json")
    assert ran.code == 1
    assert "forged: No." in ran.out
    assert "remedy: Suspect somebody." in ran.out
    assert len(asked) == 2


async def test_nothing_is_handed_over_where_one_file_is_no_record(run, fab, published):
    (fab / "x.json").write_text("{}")
    ran, asked = await published(TAKEN, "root.json", "x.json")
    assert (ran.code, asked) == (1, [])


def test_a_node_that_does_not_answer_exits_3(run, fab, tmp_path):
    assert run("record", "publish", "root.json", "--socket", tmp_path / "none.sock").code == 3
