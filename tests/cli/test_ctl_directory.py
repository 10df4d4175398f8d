"""fabricctl directory, services, members, waves: what they ask, how they read, how they end."""

from __future__ import annotations

import itertools
import time

import pytest
import trio

ID = "kq3v7dhx2m5a4bqzc6yj6wz2fghjk345"


@pytest.fixture
def asked(run, open_fake_admin, tmp_path):
    """Return `await asked(answers, "waves")`: how that ended, and what the node was asked."""

    count = itertools.count()

    async def asked_(answers, *typed):
        socket = tmp_path / f"{next(count)}.sock"
        table = {("GET", path): each for path, each in answers.items()}
        async with open_fake_admin(socket, table) as fake:
            ran = await trio.to_thread.run_sync(run, *typed, "--socket", socket)
        return ran, [path for _method, path, _body in fake.asked]

    return asked_


def rows(ran):
    """Return the lines of a table with one blank between the cells."""
    return [" ".join(line.split()) for line in ran.out.splitlines()]


# -- directory --
async def test_the_directory_is_listed_by_kind_and_name(asked, a):
    ends = int(time.time()) + 86_400 * 7 + 60
    found = [
        a.record("service/web", came=a.came("here"), expires_at=ends, order=[2, 7]),
        a.record(f"offers/{ID}", "usa-los-1", expires_at=ends),
        a.record(f"node/{ID}", "usa-los-1", came=a.came("repair"), expires_at=1, standing="grace"),
    ]
    ran, paths = await asked({"/v1/directory": (200, {"records": found})}, "directory")
    assert (ran.code, paths) == (0, ["/v1/directory"])
    assert rows(ran) == [
        "RECORD NUMBER STATE ENDS FROM HOPS TOOK AGO",
        "node/usa-los-1 3 grace over home-1 repair - 1 min",
        "offers/usa-los-1 1799999000 live 7 d home-1 2 24 ms 1 min",
        "service/web 2.7 live 7 d here - - 1 min",
    ]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "live"),
        ({"confirmed": False}, "cached"),
        ({"confirmed": False, "standing": "expired"}, "expired"),
        ({"revoked": True}, "revoked"),
        ({"disputed": True, "standing": None, "counts": False}, "disputed"),
    ],
)
async def test_what_counts_of_a_record_is_one_word(asked, a, changes, state):
    found = [a.record("service/web", **changes)]
    ran, _paths = await asked({"/v1/directory": (200, {"records": found})}, "directory")
    assert rows(ran)[1].split()[2] == state


async def test_one_kind_is_asked_for_and_json_is_the_nodes_own(asked, a):
    answer = {"records": [a.record("service/web")]}
    ran, paths = await asked(
        {"/v1/directory?kind=service": (200, answer)}, "directory", "--kind", "service", "--json"
    )
    assert (ran.code, ran.json, paths) == (0, answer, ["/v1/directory?kind=service"])


async def test_a_kind_that_does_not_exist_exits_1_with_the_kinds(asked):
    told = {"code": "bad_request", "message": "There are node, service.", "remedy": "One of them."}
    ran, _paths = await asked(
        {"/v1/directory?kind=nodes": (400, told)}, "directory", "--kind", "nodes"
    )
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "bad_request: There are node, service.\n  remedy: One of them.\n"


def test_signing_anew_is_still_under_the_same_word(run, fab):
    run("service", "add", "web", "--open-to", "any")
    assert "0 of 1 records" in run("directory", "resign").out
    assert run("directory", "rekey", "--json").json["in_force"]


def test_what_is_neither_a_record_nor_a_command_exits_2(run, fab):
    assert run("directory", "nonsense").code == 2
    ran = run("directory", "trace", "home-1")
    assert (ran.code, ran.err.split(":")[0]) == (2, "not_a_record")


# -- a trace --
async def test_a_trace_says_who_told_it_how_far_and_how_fast(asked, a):
    found = a.record(f"offers/{ID}", "usa-los-1")
    found["says"] = {"services": ["demo"]}
    found["held"] = [a.held(found["says"], signed_by=[ID])]
    found["waves"] = [a.wave(f"offers/{ID}", "usa-los-1", reach=4, duplicates=1)]
    path = "/v1/directory/offers/usa-los-1"
    ran, paths = await asked({path: (200, found)}, "directory", "trace", "offers/usa-los-1")
    assert (ran.code, paths) == (0, [path])
    lines = ran.out.splitlines()
    assert lines[0] == "offers/usa-los-1  live  number 1799999000"
    assert lines[1] == f"key     offers/{ID}"
    assert lines[2] == "author  usa-los-1 itself, by key kq3v7dhx"
    assert lines[4] == "came    from home-1 by wave 0a1b2c3d4e5f6071, 1 min ago"
    assert lines[5] == "        2 hops, 24 ms on the way"
    assert '    "demo"' in lines
    assert " ".join(lines[-1].split()) == "offers/usa-los-1 home-1 2 24 ms 4 1 1 min 0a1b2c3d"
    assert max(map(len, lines)) <= 80


async def test_a_trace_of_a_dispute_shows_every_envelope(asked, a):
    found = a.record("service/web", came=a.came("repair"), disputed=True, order=[0, 2])
    found["says"] = {"open_to": ["any"]}
    found["held"] = [
        a.held({"open_to": [who]}, digest=digest * 32, counts=who == "any")
        for who, digest in (("node:a", "a1"), ("node:b", "b2"), ("any", "c3"))
    ]
    found["waves"] = []
    path = "/v1/directory/service/web"
    ran, _paths = await asked({path: (200, found)}, "directory", "trace", "service/web")
    assert "HELD  two contend for one number" in ran.out
    for part in ("digest a1a1", "digest b2b2", '"node:a"', '"node:b"', "counts, digest c3c3"):
        assert part in ran.out
    assert "came    from home-1 by anti-entropy, 1 min ago" in ran.out


async def test_a_trace_says_what_only_the_disk_tells_and_what_counts_for_nothing(asked, a):
    found = a.record("service/web", confirmed=False, counts=False, standing=None, disputed=True)
    found |= {"says": {}, "held": [a.held({}), a.held({})], "waves": []}
    path = "/v1/directory/service/web"
    ran, _paths = await asked({path: (200, found)}, "directory", "trace", "service/web")
    assert "it is from its disk" in ran.out
    assert "nothing counts at this key until a higher number is heard" in ran.out


async def test_a_record_that_is_not_held_exits_1(asked):
    told = {"code": "unknown_record", "message": "No node/x is held here.", "remedy": "See."}
    ran, _paths = await asked(
        {"/v1/directory/node/x": (404, told)}, "directory", "trace", "node/x", "--json"
    )
    assert (ran.code, ran.json["error"]) == (1, told)


# -- services --
@pytest.mark.parametrize(
    ("status", "code"), [("active", 0), ("candidate_only", 1), ("missing", 1)]
)
async def test_services_exits_by_what_the_registry_says(asked, a, status, code):
    answer = {
        "fabric_registry_runtime_report": {"status": status, "services": {}},
        "services": [a.service("demo", status, core=True)],
    }
    ran, _paths = await asked({"/v1/registry": (200, answer)}, "services")
    assert ran.code == code
    assert ran.out.startswith(f"registry {status}\n")
    assert rows(ran)[-1].startswith(f"demo yes {status} ")


async def test_a_fabric_in_which_no_service_is_core_lacks_none(asked, a):
    answer = {
        "fabric_registry_runtime_report": {"status": "missing", "services": {}},
        "services": [a.service("demo", "missing")],
    }
    ran, _paths = await asked({"/v1/registry": (200, answer)}, "services")
    assert ran.code == 0
    assert "no service is core here" in ran.out


async def test_a_service_shows_why_not_its_records_and_its_last_proof(asked, a):
    probe = {"at": time.time() - 90, "ok": False, "rtt_ms": None, "via": "probe"}
    answer = {
        "fabric_registry_runtime_report": {"status": "missing", "services": {}},
        "services": [
            a.service("demo", "candidate_only", reason="no_proof", last_live_probe=probe)
            | {"active_records": 1, "candidate_records": 2, "resolved_to": "home-1"}
        ],
    }
    ran, _paths = await asked({"/v1/registry": (200, answer)}, "services")
    assert "no service is core here" in ran.out
    assert rows(ran)[-1] == "demo no candidate_only no_proof 1+2 home-1 failed 1 min ago"
    ran, _paths = await asked({"/v1/registry": (200, answer)}, "services", "--json")
    assert (ran.code, ran.json) == (0, answer)


# -- members and waves --
async def test_members_show_who_is_there_and_who_says_otherwise(asked, a):
    answer = {
        "members": [
            a.member("edge-1", "dead", accusers=["home-1", "test-1"], rtt_ms=None),
            a.member("home-1", itself=True),
            a.member("usa-los-1", code="peer_barred", connected=False, reason="forged"),
        ]
    }
    ran, _paths = await asked({"/v1/members": (200, answer)}, "members")
    assert ran.code == 0
    assert rows(ran)[1:] == [
        "edge-1 edge dead by home-1, test-1 12 min no - live 192.0.2.7:4433",
        "home-1 home alive 12 min itself - live 192.0.2.7:4433",
        "usa-los-1 usa alive 12 min forged 12 ms peer_barred 192.0.2.7:4433",
    ]
    ran, _paths = await asked({"/v1/members": (200, answer)}, "members", "--json")
    assert ran.json == answer


async def test_waves_show_how_they_came_and_went_on(asked, a):
    answer = {"waves": [a.wave("service/web", reach=5, duplicates=3)]}
    ran, _paths = await asked({"/v1/waves": (200, answer)}, "waves")
    assert rows(ran)[1] == "service/web home-1 2 24 ms 5 3 1 min 0a1b2c3d"
    ran, _paths = await asked({"/v1/waves": (200, {"waves": []})}, "waves")
    assert (ran.code, ran.out) == (0, "no waves yet\n")


@pytest.mark.parametrize("command", ["directory", "services", "members", "waves"])
def test_a_node_that_does_not_answer_exits_3(run, tmp_path, command):
    assert run(command, "--socket", tmp_path / "none.sock").code == 3
    ran = run(command)  # nor is there any local fabric here
    assert (ran.code, ran.err.split(":")[0]) == (3, "no_local_fabric")
