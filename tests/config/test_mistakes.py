"""Each mistake of a file, with its place and its remedy."""

from __future__ import annotations

import pytest

from fabric.config import load_config
from fabric.config.schema import MOVED, TABLES
from fabric.config.values import LONGEST_CANDIDATE
from fabric.core.records import MOST_CANDIDATES, Candidate, CandidateKind
from fabric.errors import ConfigError

GOOD = """
[node]
name = "home-1"
roles = ["ingress"]
[quic]
[admin]
[log]
[services.demo]
[[listeners]]
listen = "127.0.0.1:8080"
service = "demo"
"""


@pytest.fixture
def mistakes(operator):
    def found(text):
        path = operator.folder / "fabricd.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            load_config(path)
        except ConfigError as error:
            return [line.replace(str(operator.folder), "DIR") for line in error.mistakes]
        return []

    return found


def test_the_file_that_these_tests_spoil_is_good(mistakes):
    assert mistakes(GOOD) == []


VALUES = [
    ("node", 'colour = "red"', "node.colour: no such setting; known are name, trust_root,"),
    (
        "node",
        "drain_timeout = 3",
        "node.drain_timeout: no such setting; did you mean drain_timeou",
    ),
    ("node", "drain_timeout_s = -1", "node.drain_timeout_s: -1 is no duration; choose up to"),
    ("node", "drain_timeout_s = true", "node.drain_timeout_s: true is not a number; write"),
    ("node", 'drain_timeout_s = "5"', "node.drain_timeout_s: '5' is not a number; write a"),
    ("node", "drain_timeout_s = nan", "node.drain_timeout_s: nan is no duration"),
    ("node", "drain_timeout_s = inf", "node.drain_timeout_s: inf is no duration"),
    ("node", "drain_timeout_s = 1e300", "node.drain_timeout_s: 1e+300 is no duration"),
    ("node", f"drain_timeout_s = 0x{'f' * 9000}", "node.drain_timeout_s: a huge number is no dur"),
    ("node", 'state_dir = ""', "node.state_dir: '' is no path; name a file"),
    ("node", 'state_dir = "a\\u0000"', "node.state_dir: 'a\\x00' is no path; name a file"),
    ("node", 'key = "other.key"', "node.key: DIR/other.key: there is no such file; draw a key"),
    ("node", 'key = "fabricd.toml"', "node.key: DIR/fabricd.toml: others may use it (mode 06"),
    ("node", 'seeds = "a:1"', "node.seeds: 'a:1' is not a list; put it in [brackets]"),
    ("node", 'seeds = ["10.0.0.1"]', "node.seeds[0]: '10.0.0.1': has no port; write HOST:PORT"),
    ("node", 'seeds = ["a:1", "a:0"]', "node.seeds[1]: 'a:0': nothing can be reached at port 0"),
    ("node", 'seeds = ["0.0.0.0:1"]', "node.seeds[0]: '0.0.0.0:1': a wildcard leads nowhere"),
    ("node", 'records = "own.json"', "node.records: 'own.json' is not a list; put it in [bra"),
    ("node", 'records = [""]', "node.records[0]: '' is no path; name a file"),
    ("quic", 'advertise = ["[::]:1"]', "quic.advertise[0]: '[::]:1': a wildcard leads nowhere"),
    ("quic", 'advertise = ["a:x"]', "quic.advertise[0]: 'a:x': its port is not a number"),
    ("quic", f"advertise = {['a:1'] * 9}", "quic.advertise: 9 addresses; 8 are the most"),
    ("quic", "datagram_bytes = 1199", "quic.datagram_bytes: 1199 is out of range; choose 1200 to"),
    ("quic", "datagram_bytes = 9001", "quic.datagram_bytes: 9001 is out of range; choose 1200 to"),
    ("quic", "datagram_bytes = true", "quic.datagram_bytes: true is not a whole number"),
    ("quic", "datagram_bytes = 1200.0", "quic.datagram_bytes: 1200.0 is not a whole number"),
    ("quic", 'listen = "0.0.0.0:70000"', "quic.listen: '0.0.0.0:70000': its port is not a nu"),
    ("quic", 'listen = "localhost:1"', "quic.listen: 'localhost:1': its host is no IP address"),
    ("quic", "listen = 4433", "quic.listen: 4433 is not a string; put it in quotes"),
    ("admin", 'group = "no-such"', "admin.group: no group 'no-such' on this machine; make it"),
    ("admin", 'change_group = "\\u0000"', "admin.change_group: no group '\\x00' on this"),
    (
        "log",
        'format = "xml"',
        'log.format: \'xml\' is not known here; choose among "auto", "json"',
    ),
    ("log", 'level = "INFO"', "log.level: 'INFO' is not known here; choose among"),
    ("services.demo", 'backend = "a:0"', "services.demo.backend: 'a:0': nothing can be reached"),
    ("services.demo", "max_channels = 0", "services.demo.max_channels: 0 is out of range"),
    ("services.demo", "quota_bytes = -1", "services.demo.quota_bytes: -1 is out of range"),
    ("services.demo", 'send_proxy = "v3"', "services.demo.send_proxy: 'v3' is not known here"),
    (
        "services.demo",
        "connect_timeout_s = 0",
        "services.demo.connect_timeout_s: 0 is no duration",
    ),
    ("[listeners]", 'accept_proxy = "yes"', "listeners[0].accept_proxy: 'yes' is not true or fa"),
]


@pytest.mark.parametrize(("table", "line", "mistake"), VALUES, ids=[v[1][:40] for v in VALUES])
def test_a_wrong_value_is_told_with_its_place_and_remedy(mistakes, table, line, mistake):
    (told,) = mistakes(GOOD.replace(f"[{table}]\n", f"[{table}]\n{line}\n"))
    assert told.startswith(mistake)
    assert "; " in told


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('name = "home-1"\n', "", "node.name: is missing; set it"),
        ('service = "demo"\n', "", "listeners[0].service: is missing; set it"),
        ('"home-1"', '"home 1"', "node.name: 'home 1' is no name; use 1 to 63 letters"),
        ('"home-1"', '""', "node.name: '' is no name; use 1 to 63"),
        ("[quic]", "[quick]", "quick: no such setting; did you mean quic?"),
        ("[log]", "[[log]]", "log: a list is not a table; write its settings as the keys"),
        (
            "[[listeners]]",
            "[listeners]",
            "listeners: is not a list of tables; write it as [[listeners]]",
        ),
        (
            "[services.demo]\n",
            '[services]\n"a b" = {}\n[services.demo]\n',
            "services.'a b': 'a b'",
        ),
        (
            "[services.demo]\n",
            "[services]\nx = 5\n[services.demo]\n",
            "services.x: 5 is not a table",
        ),
        ('roles = ["ingress"]', "", 'listeners: this node is no ingress; add "ingress" to node'),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong(mistakes, old, new, mistake):
    assert GOOD.count(old) == 1
    told = [line for line in mistakes(GOOD.replace(old, new)) if line.startswith(mistake)]
    assert len(told) == 1


def test_services_are_tables_by_name(mistakes):
    _, *head = GOOD.split("\n[")  # a bare key stands before the first table
    told = mistakes("services = 5\n[" + "\n[".join(head).replace("[services.demo]", "[x]"))
    assert "services: is not a table; write it as [services.NAME]" in told


@pytest.mark.parametrize("moved", MOVED)
def test_a_setting_of_earlier_releases_tells_where_it_went(mistakes, moved):
    table, _, name = moved.replace("NAME", "demo").rpartition(".")
    if table:
        spoilt = GOOD.replace(f"[{table}]\n", f"[{table}]\n{name} = ['any']\n")
    else:
        spoilt = GOOD + f"[[{name}]]\nname = 'test-1'\n"
    assert mistakes(spoilt) == [
        f"{moved.replace('NAME', 'demo')}: no such setting; {MOVED[moved]}"
    ]


def test_a_setting_that_moved_is_none_of_this_release():
    settings = {
        f"{table}.{key.name}".replace("services.", "services.NAME.")
        for table, keys in TABLES.items()
        for key in keys
    }
    assert settings.isdisjoint(MOVED)
    assert MOVED.keys().isdisjoint(TABLES)


def test_as_many_addresses_are_taken_as_an_endpoint_record_holds(mistakes):
    assert (
        mistakes(GOOD.replace("[quic]\n", f"[quic]\nadvertise = {['a:1'] * MOST_CANDIDATES}\n"))
        == []
    )


@pytest.mark.parametrize("longer", [0, 1])
def test_an_address_is_taken_that_is_as_long_as_an_endpoint_record_takes(mistakes, longer):
    host = f"{'a' * 40}." + "b" * (LONGEST_CANDIDATE + longer - len(":4433") - 41)
    told = mistakes(GOOD.replace("[quic]\n", f'[quic]\nadvertise = ["{host}:4433"]\n'))
    if longer:
        assert [line.partition(": ")[0] for line in told] == ["quic.advertise[0]"]
        assert told[0].endswith(
            "more than 80 characters; give it a shorter name, or write the address itself"
        )
        with pytest.raises(ValueError, match="address"):
            Candidate(address=f"{host}:4433", kind=CandidateKind.PUBLIC)
    else:
        assert told == []
        assert Candidate(address=f"{host}:4433", kind=CandidateKind.PUBLIC).address


def test_a_listener_may_name_a_service_that_only_its_signed_record_knows(mistakes):
    assert mistakes(GOOD.replace("[services.demo]\n", "")) == []


def test_two_listeners_on_one_port_are_both_named(mistakes):
    told = mistakes(GOOD + '[[listeners]]\nlisten = "0.0.0.0:8080"\nservice = "demo"\n')
    assert told == [
        "listeners[1].listen: 0.0.0.0:8080 is taken by listeners[0] (127.0.0.1:8080); "
        "give each listener a port of its own"
    ]


def test_a_key_that_others_may_read_stops_the_node(mistakes, operator):
    (operator.folder / "node.key").chmod(0o640)
    assert mistakes(GOOD) == [
        "node.key: DIR/node.key: others may use it (mode 0640); chmod 600 DIR/node.key"
    ]


def test_all_mistakes_are_told_at_once(mistakes, operator):
    (operator.folder / "node.key").unlink()
    (operator.folder / "root.json").unlink()
    spoilt = (
        GOOD.replace('name = "home-1"', 'name = 5\narea = "home"\nrecords = ["a", "b"]')
        .replace('"ingress"', '"relay"')
        .replace("[quic]", "[quic]\nlisten = 1")
        .replace("127.0.0.1:8080", "here")
    )
    assert [line.partition(": ")[0] for line in mistakes(spoilt)] == [
        "node.area",
        "node.name",
        "quic.listen",
        "listeners[0].listen",
        "node.key",
        "node.trust_root",
        "node.records[0]",
        "node.records[1]",
        "listeners",
    ]


def test_what_follows_from_a_mistake_is_not_told_as_one_more(mistakes):
    (told,) = mistakes(GOOD.replace('roles = ["ingress"]', 'roles = "ingress"'))
    assert told.startswith("node.roles: ")
    (told,) = mistakes(
        GOOD.replace('"127.0.0.1:8080"', '"here"')
        + "[[listeners]]\n"
        + 'listen = "0.0.0.0:8080"\nservice = "demo"\n'
    )
    assert told.startswith("listeners[0].listen: ")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[node\n", "is not TOML (Expected ']'"),
        (b"\xff", "is not TOML ('utf-8' codec"),
        (b"a = " + b"[" * 100_000, "is nested too deep"),
        (b"a = " + b"9" * 5_000, "is not TOML (Exceeds the limit"),
        (b"a = 1\na = 2", "is not TOML (Cannot overwrite a value"),
    ],
)
def test_what_is_not_toml_is_one_mistake(mistakes, content, why):
    (told,) = mistakes(content)
    assert told.startswith(f"DIR/fabricd.toml: {why}")


def test_a_file_that_is_not_there_is_one_mistake(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\)"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load_config(tmp_path)
