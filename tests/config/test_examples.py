"""The files that people copy: those in ``conf/``, and those that the tutorials print."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

import pytest
from attrs import NOTHING, fields

from fabric.config import (
    AdminConfig,
    ListenerConfig,
    LogConfig,
    NodeConfig,
    QuicConfig,
    ServiceConfig,
    load_config,
    parse_config,
)
from fabric.config.schema import TABLES
from fabric.errors import ConfigError

TREE = Path(__file__).parent.parent.parent
CONF = TREE / "conf"
FILES = ["fabricd.toml", "fabric-ingress.toml"]
MODELS = {
    "node": NodeConfig,
    "quic": QuicConfig,
    "admin": AdminConfig,
    "log": LogConfig,
    "services": ServiceConfig,
    "listeners": ListenerConfig,
}
OF_THE_OFFERER = {"backend", "max_channels", "send_proxy", "connect_timeout_s"}
"""Settings of a service that the ingress's file leaves to the long one."""

_DEFAULT = re.compile(r"#(?=[a-z_]+ = |\[)")


def defaults(name: str) -> dict:
    """The file as its comments read: only the settings behind a ``#``, by table."""
    lines = (CONF / name).read_text().splitlines()
    shown = [line.removeprefix("#") for line in lines if _DEFAULT.match(line) or line[:1] == "["]
    return tomllib.loads("\n".join(shown))


def filled(name: str) -> dict:
    """The file as somebody would fill it in, every comment that is a setting uncommented."""
    document = defaults(name)
    for table, settings in tomllib.loads((CONF / name).read_text()).items():
        document[table] |= settings
    document["node"] |= {
        "name": "me",
        "trust_root": "root.json",
        "key": "node.key",
        "roles": ["ingress"],
    }
    return document


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_tells_what_has_to_be_filled_in(name):
    with pytest.raises(ConfigError) as caught:
        load_config(CONF / name)
    told = dict(line.split(": ", 1) for line in caught.value.mistakes)
    assert list(told) == ["node.name", "node.key", "node.trust_root"]
    assert "draw a key: (umask 077; openssl rand -hex 32 > FILE)" in told["node.key"]
    assert "copy it from the folder that `fabricctl init` made" in told["node.trust_root"]


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_filled_in_is_a_configuration(name, operator):
    config = parse_config(filled(name), base=operator.folder)
    assert len(config.services) == len(config.listeners) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_filled_in_by_hand_and_saved_is_one_too(name, operator):
    """As people do it: the lines without a mark changed, and not one more."""
    lines = (CONF / name).read_text()
    for key, value in (("name", "me"), ("trust_root", "root.json"), ("key", "node.key")):
        lines, count = re.subn(rf'^{key} = ".*"$', f'{key} = "{value}"', lines, flags=re.M)
        assert count == 1
    (operator.folder / name).write_text(lines)
    assert load_config(operator.folder / name).trust_root == operator.folder / "root.json"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("table", TABLES)
def test_every_default_is_shown_and_is_the_one_in_force(name, table):
    section = defaults(name)[table]
    if table == "listeners":
        (section,) = section
    if table == "services":
        (section,) = section.values()
    settings = {one.name: one.default for one in fields(MODELS[table])}
    left_out = OF_THE_OFFERER if (name, table) == ("fabric-ingress.toml", "services") else set()
    for key in TABLES[table]:
        default = settings[key.setting]
        if default in (NOTHING, None) or key.name in left_out:
            continue
        if hasattr(default, "factory"):
            default = default.factory()
        assert key.read(section[key.name]) == default, key.name


def printed() -> list[tuple[str, str]]:
    """Each file that a tutorial prints, with where it stands."""
    return [
        (f"{page.stem}-{number}", text)
        for page in sorted((TREE / "docs" / "tutorials").glob("*.md"))
        for number, text in enumerate(
            re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.M | re.S)
        )
    ]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in printed()])
def test_a_file_that_a_tutorial_prints_is_a_configuration(text, operator):
    operator.copy("node.json", operator.fabric.signed(operator.fabric.node("home-1")))
    (operator.folder / "node.toml").write_text(text)
    config = load_config(operator.folder / "node.toml")
    assert config.records == (operator.folder / "node.json",)


def test_the_tutorials_print_the_files_of_two_nodes_that_find_each_other():
    home, usa = (tomllib.loads(text) for _name, text in printed())
    assert usa["node"]["seeds"] == home["quic"]["advertise"]
    assert home["listeners"][0]["service"] in usa["services"]


@pytest.mark.parametrize("name", ["fabricd", "fabric-ingress"])
def test_a_service_unit_waits_longer_than_a_drain_takes(name):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(CONF / "systemd" / f"{name}.service")
    service = unit["Service"]

    drain = defaults(f"{name}.toml")["node"]["drain_timeout_s"]
    assert int(service["TimeoutStopSec"]) == drain + 15
    assert service["Type"] == "notify"
    assert service["ExecStart"].endswith(f"/{name} --config /etc/fabric/{name}.toml")
    assert f"/var/lib/{service['StateDirectory']}/" in (CONF / f"{name}.toml").read_text()
