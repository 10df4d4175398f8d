"""fabricctl as a fabric's authority types it: what is written, told and refused."""

from __future__ import annotations

import stat
import subprocess
import sys

import pytest

from fabric.core.codec.envelopes import envelope_from_json
from fabric.core.codec.records import decode_record
from fabric.net.tls import NodeKey, load_key
from services.authority import Authority, Grant

KEY = NodeKey.from_seed(bytes(range(32))).public.hex()
OTHER = NodeKey.from_seed(bytes(range(1, 33))).public.hex()


def record_in(path):
    return decode_record(envelope_from_json(path.read_text()).payload)


def everything(path):
    return {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}


# -- init --
def test_init_makes_a_fabric_and_says_what_to_type_next(run, tmp_path):
    ran = run("init", "fab", "--name", "acme")
    assert ran.code == 0
    assert "fabric acme, id " in ran.out
    assert "fabricctl node add" in ran.out
    assert (tmp_path / "fab" / "root.json").exists()


def test_init_takes_the_thresholds_that_it_is_given(run, tmp_path):
    arguments = ["--root", "2/3", "--directory-keys", "2", "--intent", "1/1", "--recovery", "1/2"]
    ran = run("init", "fab", *arguments, "--orchestrator-keys", "2", "--json")
    roles = {role: (one["threshold"], len(one["keys"])) for role, one in ran.json["roles"].items()}
    assert roles == {
        "root": (2, 3),
        "directory": (1, 2),
        "intent": (1, 1),
        "orchestrator": (1, 2),
        "recovery": (1, 2),
    }
    assert all(
        load_key(tmp_path / key).public
        for one in ran.json["roles"].values()
        for key in one["keys"]
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fab", "--root", "3/2"],
        ["fab", "--intent", "two"],
        ["fab", "--directory-keys", "0"],
        ["fab", "--directory-keys", "9"],
    ],
)
def test_an_init_that_cannot_be_meant_exits_2_and_writes_nothing(run, tmp_path, arguments):
    assert run("init", *arguments).code == 2
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_exits_1_and_stays_as_it_is(run, fab):
    before = everything(fab)
    ran = run("init", fab)
    assert ran.code == 1
    assert "authority of fab already" in ran.err
    assert everything(fab) == before


def test_init_in_an_empty_working_folder_keeps_that_folder(run, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run("init", ".").code == 0
    assert run("node", "list").code == 0
    assert stat.S_IMODE((tmp_path / "here").stat().st_mode) == 0o700


# -- which folder --
def test_the_folder_is_named_by_an_option_or_the_environment(run, fab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("node", "list").code == 1
    assert run("node", "list", "--dir", "fab").code == 0
    monkeypatch.setenv("FABRIC_DIR", str(fab))
    assert run("node", "list").code == 0


@pytest.mark.parametrize("named", [False, True])
def test_the_authority_of_a_local_fabric_is_found_too(run, tmp_path, monkeypatch, named):
    run("init", tmp_path / ".fabric" / "authority")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    if named:
        monkeypatch.setenv("FABRIC_DIR", str(tmp_path / ".fabric"))
    assert run("node", "list").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["node", "add", "a", "--area", "b"],
        ["node", "list"],
        ["service", "add", "web"],
        ["policy", "set", "--fanout", "3"],
        ["revoke", "service", "web"],
        ["directory", "resign"],
        ["directory", "rekey"],
        ["root", "show"],
        ["root", "rotate"],
        ["record", "show", "policy/fabric"],
        ["record", "publish", "--all"],
    ],
)
def test_without_an_authority_every_command_exits_1_and_says_how_to_make_one(
    run, tmp_path, arguments
):
    ran = run(*arguments, "--json")
    assert ran.code == 1
    assert ran.json["error"]["code"] == "not_an_authority"
    assert "fabricctl init" in ran.json["error"]["remedy"]
    assert not list(tmp_path.iterdir())


# -- nodes --
def test_node_add_draws_a_key_writes_the_record_and_names_the_three_files(run, fab):
    ran = run("node", "add", "home-1", "--area", "home")
    (file,) = (fab / "records" / "node").iterdir()
    record = record_in(file)
    assert record.key_bytes == load_key(fab / "nodes" / "home-1.key").public
    assert f"  root.json\n  records/node/{file.name}\n  nodes/home-1.key\n" in ran.out
    command = f"publish it:\n  fabricctl record publish \\\n    records/node/{file.name}\n"
    assert ran.out.endswith(command)


@pytest.mark.parametrize(
    "arguments",
    [["node", "replace", "home-1"], ["revoke", "node", "home-1"], ["directory", "rekey"]],
)
def test_what_is_signed_is_told_in_80_columns(run, fab, arguments):
    run("node", "add", "home-1", "--area", "home")
    assert max(map(len, run(*arguments).out.splitlines())) <= 80


def test_node_add_says_all_that_it_is_told(run, fab):
    told = [
        "--area",
        "a",
        "--site",
        "s",
        "--nat-group",
        "n",
        "--locality-group",
        "l",
        "--critical",
        "--key",
    ]
    lists = ["--role", "relay", "--role", "ingress", "--label", "k=v", "--label", "rack=7=8"]
    ran = run("node", "add", "home-1", *told, KEY, *lists, "--json")
    record = record_in(fab / ran.json["wrote"][0])
    assert ran.json["key_file"] is None
    assert not list((fab / "nodes").iterdir())
    assert (record.name, record.key_bytes.hex()) == ("home-1", KEY)
    assert (record.area, record.site_id, record.nat_group, record.locality_group) == tuple("asnl")
    assert record.roles == ("ingress", "relay")
    assert dict(record.labels) == {"k": "v", "rack": "7=8"}
    assert record.critical


def test_node_add_reads_the_key_file_of_a_node_at_hand(run, fab, tmp_path):
    path = tmp_path / "node.key"
    path.touch(0o600)
    path.write_text(bytes(range(32)).hex())
    ran = run("node", "add", "home-1", "--area", "home", "--key-file", path, "--json")
    assert record_in(fab / ran.json["wrote"][0]).key_bytes.hex() == KEY


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "home-1"],
        ["add", "home-1", "--area", "home", "--key", "abc"],
        ["add", "home-1", "--area", "home", "--key", KEY, "--key-file", "x"],
        ["add", "home-1", "--area", "home", "--label", "rack"],
        ["add", "home-1", "--area", "home", "--label", "rack=1", "--label", "rack=2"],
        ["change", "home-1"],
        ["rename", "home-1"],
    ],
)
def test_a_node_command_that_cannot_be_meant_exits_2(run, fab, arguments):
    before = everything(fab)
    ran = run("node", *arguments)
    assert ran.code == 2
    assert ran.err
    assert everything(fab) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["add", "home-1", "--area", "usa"], "name_taken"),
        (["add", "home-2", "--area", "home", "--key", KEY], "key_taken"),
        (["add", "home 2", "--area", "home"], "not_a_name"),
        (["add", "home-2", "--area", "no area"], "not_a_name"),
        (["add", "home-2", "--area", "home", "--key", "00" * 32], "not_a_record"),
        (["add", "home-2", "--area", "home", "--key-file", "none.key"], "not_an_authority"),
        (["change", "home-2", "--area", "usa"], "unknown_node"),
        (["replace", "home-2"], "unknown_node"),
        (["replace", "home-1", "--key", KEY], "same_key"),
    ],
)
def test_what_an_authority_refuses_exits_1_and_writes_nothing(run, fab, arguments, code):
    run("node", "add", "home-1", "--area", "home", "--key", KEY)
    before = everything(fab)
    ran = run("node", *arguments, "--json")
    assert ran.code == 1
    assert ran.json["error"]["code"] == code
    assert ran.json["error"]["remedy"]
    assert everything(fab) == before


def test_node_change_changes_what_is_given_and_nothing_else(run, fab):
    run("node", "add", "home-1", "--area", "home", "--key", KEY, "--role", "relay", "--critical")
    ran = run("node", "change", "home-1", "--site", "s2", "--not-critical", "--json")
    record = record_in(fab / ran.json["wrote"][0])
    assert (record.area, record.site_id, record.roles) == ("home", "s2", ("relay",))
    assert not record.critical
    assert record.generation == 2
    assert record_in(
        fab / run("node", "change", "home-1", "--role", "ingress", "--json").json["wrote"][0]
    ).roles == ("ingress",)


def test_what_is_said_twice_is_written_once(run, fab):
    arguments = ["node", "add", "home-1", "--area", "home", "--key", KEY]
    run(*arguments)
    before = everything(fab)
    ran = run(*arguments, "--json")
    assert ran.code == 0
    assert ran.json["wrote"] == []
    assert len(ran.json["records"]) == 1
    assert everything(fab) == before


def test_node_replace_writes_the_new_record_and_the_tombstone_of_the_old(run, fab):
    run("node", "add", "home-1", "--area", "home", "--key", KEY)
    ran = run("node", "replace", "home-1", "--key", OTHER, "--json")
    records = {one.key_bytes.hex(): one for one in (record_in(fab / f) for f in ran.json["wrote"])}
    assert records[KEY].revoked
    assert not records[OTHER].revoked
    (listed,) = run("node", "list", "--json").json["nodes"]
    assert listed["public_key"] == OTHER


def test_node_replace_draws_a_key_beside_the_old_one(run, fab):
    run("node", "add", "home-1", "--area", "home")
    run("node", "replace", "home-1")
    assert sorted(path.name for path in (fab / "nodes").iterdir()) == [
        "home-1.key",
        "home-1~2.key",
    ]


def test_node_list_shows_who_belongs(run, fab):
    assert run("node", "list").out == "no nodes yet\n"
    run("node", "add", "home-1", "--area", "home", "--key", KEY, "--role", "relay")
    heading, row = run("node", "list").out.splitlines()
    assert heading.split()[:3] == ["NODE", "ID", "AREA"]
    assert row.split()[0] == "home-1"
    assert "relay" in row


# -- services, policy, tombstones --
def test_service_add_says_who_may_offer_and_open(run, fab):
    lists = [
        "--offer-by",
        "area:home",
        "--offer-by",
        "node:x",
        "--open-to",
        "any",
        "--edge",
        "--core",
    ]
    ran = run("service", "add", "web", *lists, "--max-channels", "9")
    assert ran.code == 0
    record = record_in(fab / "records" / "service" / "web.json")
    assert record.offer_by == ("area:home", "node:x")
    assert record.open_to == ("any",)
    assert (record.edge_exposable, record.core, record.max_channels) == (True, True, 9)
    assert "publish it: fabricctl record publish records/service/web.json" in ran.out


def test_a_service_that_nobody_may_open_is_said_to_be_so(run, fab):
    assert "offered by nobody, open to nobody" in run("service", "add", "web").out


def test_selectors_that_select_nobody_are_named_and_taken_all_the_same(run, fab):
    run("node", "add", "home-1", "--area", "home", "--key", KEY, "--role", "relay")
    some = ["--offer-by", "node:home-1", "--offer-by", "node:hoem-1", "--open-to", "any"]
    assert run("service", "add", "web", *some, "--json").json["selects_nobody"] == ["node:hoem-1"]
    assert "no node is node:hoem-1 yet" in run("service", "add", "web", *some).out
    assert " yet" not in run("service", "add", "web", "--offer-by", "role:relay").out


def test_a_target_of_a_role_that_no_node_has_is_named_and_taken_all_the_same(run, fab):
    run("node", "add", "home-1", "--area", "home", "--key", KEY, "--role", "relay")
    targets = [f"{role}:direct=3" for role in ("relay", "wizard", "critical")]
    ran = run("policy", "set", *(each for target in targets for each in ("--target", target)))
    assert "no node is role:wizard yet" in ran.out
    assert "wizard" in record_in(fab / "records" / "policy" / "fabric.json").targets


def test_a_service_said_again_is_the_next_generation(run, fab):
    run("service", "add", "web", "--open-to", "any")
    run("service", "add", "web", "--open-to", "role:ingress")
    record = record_in(fab / "records" / "service" / "web.json")
    assert (record.generation, record.open_to) == (2, ("role:ingress",))


@pytest.mark.parametrize(
    "arguments",
    [
        ["service", "add", "web", "--open-to", "everybody"],
        ["service", "add", "web", "--max-channels", "-1"],
        ["policy", "set"],
        ["policy", "set", "--fanout", "many"],
        ["policy", "set", "--target", "relay"],
        ["policy", "set", "--target", "relay:near=2"],
        ["policy", "set", "--target", "relay:direct=65"],
        ["policy", "set", "--target", "relay:direct=2", "--target", "relay:direct=3"],
        ["revoke", "web"],
        ["revoke", "thing", "web"],
        ["directory", "resign", "--due", "--all"],
        ["root", "rotate", "--threshold", "root"],
        ["root", "rotate", "--threshold", "king=1"],
        ["root", "rotate", "--add-key", "king"],
        ["root", "rotate", "--add-key", "root:abc"],
        ["root", "rotate", "--epoch", "-1"],
        ["record", "show", "nothing"],
        ["record", "publish"],
    ],
)
def test_a_command_line_that_cannot_be_meant_exits_2(run, fab, arguments):
    before = everything(fab)
    assert run(*arguments).code == 2
    assert everything(fab) == before


def test_policy_set_changes_only_what_is_given(run, fab):
    run("policy", "set", "--fanout", "4", "--target", "relay:direct=3,areas=2")
    run("policy", "set", "--degree", "9")
    record = record_in(fab / "records" / "policy" / "fabric.json")
    assert (record.fanout, record.degree, record.hops) == (4, 9, 8)
    assert (record.targets["relay"].direct, record.targets["relay"].external_areas) == (3, 2)


def test_policy_show_tells_what_holds_signed_or_not(run, fab):
    unsaid = run("policy", "show", "--json").json
    assert (unsaid["fanout"], unsaid["targets"], unsaid["signed"]) == (5, {}, False)
    run("policy", "set", "--fanout", "4", "--target", "relay:direct=3,areas=2")
    said = run("policy", "show", "--json").json
    assert (said["fanout"], said["degree"], said["signed"]) == (4, 8, True)
    assert said["targets"]["relay"] == {"direct": 3, "areas": 2, "ingress": 1, "recovery": 1}
    shown = run("policy", "show").out
    assert "full-mesh-up-to 16" in shown
    assert "target relay:direct=3,areas=2" in shown


def test_a_policy_out_of_its_bounds_exits_1(run, fab):
    ran = run("policy", "set", "--fanout", "99", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "not_a_record")


@pytest.mark.parametrize("how", [["node", "home-1"], ["service", "web"], ["service/web"]])
def test_revoke_writes_a_tombstone(run, fab, how):
    run("node", "add", "home-1", "--area", "home", "--key", KEY)
    run("service", "add", "web", "--open-to", "any")
    ran = run("revoke", *how, "--json")
    assert ran.code == 0
    assert record_in(fab / ran.json["wrote"][0]).revoked
    assert ran.json["records"][0]["revoked"]
    assert len(ran.json["publish"]) == 1


@pytest.mark.parametrize("what", [["node", "home-9"], ["service", "web"], ["endpoint/abc"]])
def test_what_was_never_said_cannot_be_revoked(run, fab, what):
    assert run("revoke", *what).code == 1


# -- signing anew --
def test_directory_resign_signs_what_is_due_and_with_all_the_rest(run, fab):
    run("service", "add", "web", "--open-to", "any")
    assert run("directory", "resign", "--json").json["wrote"] == []
    assert len(run("directory", "resign", "--all", "--json").json["wrote"]) == 1
    assert record_in(fab / "records" / "service" / "web.json").generation == 2


def test_many_records_are_published_by_one_command(run, fab):
    with Authority.open(fab) as authority:
        for number in range(15):
            authority.add_service(f"s{number}", Grant(), now=1_800_000_000)
    ran = run("directory", "resign", "--all")
    assert "and 3 more" in ran.out
    assert ran.out.endswith("publish them: fabricctl record publish --all\n")


def test_directory_rekey_has_the_records_published_before_the_root(run, fab):
    run("service", "add", "web", "--open-to", "any")
    ran = run("directory", "rekey")
    assert ran.code == 0
    *_, records, root = ran.out.splitlines()
    assert records == "publish it: fabricctl record publish records/service/web.json"
    assert root == "then publish it: fabricctl record publish roots/0002.json"
    roles = run("root", "show", "--json").json["roles"]
    assert {key["file"]: key["state"] for key in roles["directory"]["keys"]} == {
        "directory-1": "retired",
        "directory-2": "active",
    }


def test_directory_rekey_marks_a_key_that_others_may_have(run, fab):
    ran = run("directory", "rekey", "directory-1", "--compromised", "--json")
    assert ran.json["in_force"]
    roles = run("root", "show", "--json").json["roles"]
    assert "compromised" in {key["state"] for key in roles["directory"]["keys"]}


# -- the trust root --
def test_root_show_names_each_key_its_role_and_its_file(run, fab):
    ran = run("root", "show")
    assert ran.code == 0
    for role, takes in [("root", "1 of 1"), ("intent", "2 of 3"), ("recovery", "2 of 3")]:
        assert any(
            line.startswith(role) and takes in line and f"{role}-1" in line
            for line in ran.out.splitlines()
        )


def test_root_show_all_names_every_version(run, fab):
    run("root", "rotate")
    versions = run("root", "show", "--all", "--json").json["versions"]
    assert [fab / path for path in versions] == [
        fab / "roots" / "0001.json",
        fab / "roots" / "0002.json",
    ]
    assert "roots/0002.json" in run("root", "show", "--all").out


def test_a_root_is_shown_from_its_file_without_any_folder(run, fab, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ran = run("root", "show", fab / "root.json", "--json")
    assert ran.json["version"] == 1
    assert run("root", "show", fab / "root.json").code == 0


def test_root_rotate_takes_keys_thresholds_and_epochs(run, fab):
    added = ["--add-key", "directory", "--add-key", f"directory:{KEY}", "--add-key", "root"]
    more = ["--retire", "root-1", "--threshold", "directory=2", "--epoch", "1"]
    ran = run("root", "rotate", *added, *more, "--json")
    assert ran.code == 0
    shown = run("root", "show", "--json").json
    assert shown["last_epoch"] == 1
    assert shown["roles"]["directory"]["threshold"] == 2
    assert len(shown["roles"]["directory"]["keys"]) == 3
    assert KEY in {key["public_key"] for key in shown["roles"]["directory"]["keys"]}
    assert {key["file"]: key["state"] for key in shown["roles"]["root"]["keys"]} == {
        "root-1": "retired",
        "root-2": "active",
    }


def test_keys_of_several_holders_sign_one_after_the_other(run, tmp_path, monkeypatch):
    run("init", "fab", "--root", "2/2")
    away = tmp_path / "root-2.key"
    (tmp_path / "fab" / "keys" / "root-2.key").rename(away)
    monkeypatch.chdir(tmp_path / "fab")

    proposed = run("root", "rotate", "--epoch", "1", "--json").json
    assert not proposed["in_force"]
    assert [one["count"] for one in proposed["missing"]] == [1, 1]
    assert proposed["publish"] == []
    assert run("root", "show", "--json").json["version"] == 1

    again = run("root", "rotate", "--json")
    assert (again.code, again.json["error"]["code"]) == (1, "root_conflict")

    travels = tmp_path / "proposal.json"
    travels.write_bytes((tmp_path / "fab" / proposed["file"]).read_bytes())
    monkeypatch.chdir(tmp_path)
    signed = run("root", "sign", travels, "--key", away, "--json").json
    assert len(signed["signed_by"]) == 2

    monkeypatch.chdir(tmp_path / "fab")
    assert run("root", "sign", travels, "--json").json["in_force"]
    assert run("root", "show", "--json").json["last_epoch"] == 1


def test_a_key_that_is_no_root_key_does_not_sign_a_root(run, fab):
    before = (fab / "root.json").read_bytes()
    ran = run("root", "sign", "root.json", "--key", "keys/intent-1.key", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "unknown_signer")
    assert (fab / "root.json").read_bytes() == before


# -- all of it --
def test_looking_at_a_fabric_does_not_import_what_signs():
    code = "import sys, cli.fabricctl; print([m for m in sys.modules if 'authority' in m])"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"
