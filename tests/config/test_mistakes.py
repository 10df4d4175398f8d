"""Each mistake of a file, with its place and its remedy."""

from __future__ import annotations

import pytest

from fabric.config import load_config
from fabric.errors import ConfigError
from fabric.net.tls import NodeKey, create_key

KEYS = [NodeKey.from_seed(bytes([n]) * 32).public.hex() for n in range(1, 4)]

GOOD = f"""
[node]
name = "home-1"
fabric_id = "{"ab" * 16}"
area = "home"
roles = ["ingress"]
[quic]
[admin]
[log]
[services.demo]
edge_exposable = true
[[listeners]]
listen = "127.0.0.1:8080"
service = "demo"
[[peers]]
name = "test-1"
public_key = "{KEYS[0]}"
area = "test"
"""


@pytest.fixture
def mistakes(tmp_path):
    create_key(tmp_path / "node.key")

    def found(text):
        path = tmp_path / "fabricd.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            load_config(path)
        except ConfigError as error:
            return [line.replace(str(tmp_path), "DIR") for line in error.mistakes]
        return []

    return found


def test_the_file_that_these_tests_spoil_is_good(mistakes):
    assert mistakes(GOOD) == []


VALUES = [
    ("node", 'colour = "red"', "node.colour: no such setting; known are name, fabric_id, key"),
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
    ("node", 'labels = "x"', "node.labels: 'x' is not a table; write {key"),
    ("node", "labels = { a = 1 }", "node.labels.a: 1 is not a string; put it in quotes"),
    ("node", 'labels = { a = "\\n" }', "node.labels.a: '\\n' is no label value; use at most"),
    ("node", 'labels = { "a b" = "" }', "node.labels.'a b': 'a b' is no name; use 1 to 63"),
    ("node", 'state_dir = ""', "node.state_dir: '' is no path; name a file"),
    ("node", 'state_dir = "a\\u0000"', "node.state_dir: 'a\\x00' is no path; name a file"),
    ("node", 'key = "other.key"', "node.key: DIR/other.key: there is no such file; draw a key"),
    ("node", 'key = "fabricd.toml"', "node.key: DIR/fabricd.toml: others may use it (mode 06"),
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
    ("services.demo", 'open_to = "any"', "services.demo.open_to: 'any' is not a list; put it"),
    (
        "services.demo",
        'open_to = ["any", "all"]',
        "services.demo.open_to[1]: 'all' is no selector",
    ),
    ("services.demo", 'open_to = ["port:1"]', "services.demo.open_to[0]: 'port:1' is no selector"),
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
    ("[peers]", 'address = "10.0.0.1"', "peers[0].address: '10.0.0.1': has no port; write HOST"),
    ("[peers]", "offers = [1]", "peers[0].offers[0]: 1 is not a string"),
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
        ('area = "test"\n', "", "peers[0].area: is missing; set it"),
        ('service = "demo"\n', "", "listeners[0].service: is missing; set it"),
        ('"home-1"', '"home 1"', "node.name: 'home 1' is no name; use 1 to 63 letters"),
        ('"home-1"', '""', "node.name: '' is no name; use 1 to 63"),
        ("ab" * 16, "ab" * 15, f"node.fabric_id: '{'ab' * 15}' is not 16 bytes in 32 hexadecimal"),
        ("ab" * 16, "0x" + "ab" * 15, "node.fabric_id: '0xab"),
        (KEYS[0], KEYS[0][:-2], "peers[0].public_key: '"),
        (KEYS[0], "02" + "00" * 31, "peers[0].public_key: '02000000"),  # not on the curve
        (KEYS[0], "01" + "00" * 31, "peers[0].public_key: '01000000"),  # small order
        ("[quic]", "[quick]", "quick: no such setting; did you mean quic?"),
        ("[log]", "[[log]]", "log: a list is not a table; write its settings as the keys"),
        ("[[peers]]", "[peers]", "peers: is not a list of tables; write it as [[peers]]"),
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
        ("edge_exposable = true", "", "listeners[0].service: demo may not be shown outside the"),
        ('service = "demo"', 'service = "dem"', "listeners[0].service: no service dem is known"),
        ('"test-1"', '"home-1"', "peers[0].name: home-1 is node.name too; give each node"),
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


@pytest.mark.parametrize("key", ["02" + "00" * 31, "01" + "00" * 31])
def test_a_public_key_is_a_point_that_no_signature_can_be_forged_for(mistakes, key):
    (told,) = mistakes(GOOD.replace(KEYS[0], key))
    assert "is not a valid Ed25519 point; copy the peer's public key once more" in told


def peer(name: str, key: str) -> str:
    return f'[[peers]]\nname = "{name}"\npublic_key = "{key}"\narea = "x"\n'


def test_two_peers_with_one_name_are_both_named(mistakes):
    told = mistakes(GOOD + peer("usa-1", KEYS[1]) + peer("test-1", KEYS[2]))
    assert told == ["peers[2].name: test-1 is peers[0].name too; give each node a name of its own"]


def test_two_peers_with_one_key_are_both_named(mistakes):
    (told,) = mistakes(GOOD + peer("usa-1", KEYS[0].upper()))
    assert told.startswith("peers[1].public_key: is the key of peers[0].public_key too; ")


def test_a_node_is_not_its_own_peer(mistakes, tmp_path):
    (tmp_path / "node.key").write_text("00" * 32)
    (told,) = mistakes(GOOD + peer("usa-1", NodeKey.from_seed(bytes(32)).public.hex()))
    assert told.startswith("peers[1].public_key: is the key of node.key too; ")


def test_two_listeners_on_one_port_are_both_named(mistakes):
    told = mistakes(GOOD + '[[listeners]]\nlisten = "0.0.0.0:8080"\nservice = "demo"\n')
    assert told == [
        "listeners[1].listen: 0.0.0.0:8080 is taken by listeners[0] (127.0.0.1:8080); "
        "give each listener a port of its own"
    ]


def test_a_key_that_others_may_read_stops_the_node(mistakes, tmp_path):
    (tmp_path / "node.key").chmod(0o640)
    assert mistakes(GOOD) == [
        "node.key: DIR/node.key: others may use it (mode 0640); chmod 600 DIR/node.key"
    ]


def test_all_mistakes_are_told_at_once(mistakes, tmp_path):
    (tmp_path / "node.key").unlink()
    spoilt = (
        GOOD.replace('area = "home"', "area = 5")
        .replace('"ingress"', '"relay"')
        .replace("[quic]", "[quic]\nlisten = 1")
        .replace('name = "test-1"', 'name = "home-1"')
        .replace('area = "test"', 'area = "-"')
        .replace("127.0.0.1:8080", "here")
    )
    assert [line.partition(": ")[0] for line in mistakes(spoilt)] == [
        "node.area",
        "quic.listen",
        "peers[0].area",
        "listeners[0].listen",
        "node.key",
        "peers[0].name",
        "listeners",
    ]


def test_what_follows_from_a_mistake_is_not_told_as_one_more(mistakes):
    (told,) = mistakes(GOOD.replace("edge_exposable = true", 'edge_exposable = "true"'))
    assert told.startswith("services.demo.edge_exposable: ")
    (told,) = mistakes(GOOD.replace('roles = ["ingress"]', 'roles = "ingress"'))
    assert told.startswith("node.roles: ")


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


def test_more_selectors_than_peers_can_be_told_are_refused(mistakes):
    open_to = [f"node:n{number}" for number in range(65)]
    spoilt = GOOD.replace("[services.demo]\n", f"[services.demo]\nopen_to = {open_to}\n")
    (told,) = mistakes(spoilt)
    assert told.startswith("services.demo.open_to: 65 selectors")
