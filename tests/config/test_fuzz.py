"""Whatever an operator writes, the answer is a configuration or a list of mistakes."""

from __future__ import annotations

import re

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.config import NodeConfig, load_config, parse_config
from fabric.config.schema import TABLES
from fabric.errors import ConfigError

KEY_NAMES = sorted({key.name for keys in TABLES.values() for key in keys})

texts = st.text(max_size=20) | st.sampled_from(
    [
        "home.example.net:4433",
        "0.0.0.0:1",
        "ingress",
        "demo",
        "127.0.0.1:0",
        "[::1]:1",
        "node.key",
        "root.json",
        "records",
        ".",
        "json",
        "v1",
        "\0",
    ]
)
scalars = (
    texts
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 1200, 10**400])
    | st.floats()
    | st.dates()
    | st.times()
    | st.datetimes()
)
names = st.sampled_from(KEY_NAMES) | st.sampled_from(["demo", "node", "area"]) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6)
)
tables = st.dictionaries(names, values, max_size=8)
documents = st.fixed_dictionaries(
    {},
    optional={
        "node": tables | values,
        "quic": tables | values,
        "admin": tables | values,
        "log": tables | values,
        "peers": st.lists(tables, max_size=3) | values,
        "services": st.dictionaries(names, tables, max_size=3) | values,
        "listeners": st.lists(tables, max_size=3) | values,
        "other": values,
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_operator):
    operator = make_operator(tmp_path_factory.mktemp("fuzz"))
    operator.copy_records("home-1", "away-1")
    return operator.folder


def loaded(path) -> NodeConfig | None:
    try:
        return load_config(path)
    except ConfigError as error:
        mistakes = error.mistakes
    assert mistakes
    assert all(re.fullmatch(r"[^ ].*: .+; .+", mistake) for mistake in mistakes)
    assert all(mistake.isprintable() for mistake in mistakes)
    return None


@settings(max_examples=150, deadline=None)
@given(document=documents)
def test_any_toml_is_a_configuration_or_a_list_of_mistakes(folder, document):
    path = folder / "any.toml"
    path.write_text(tomli_w.dumps(document))
    loaded(path)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_configuration_or_a_list_of_mistakes(folder, content):
    path = folder / "bytes.toml"
    path.write_bytes(content)
    loaded(path)


@pytest.mark.parametrize("depth", [10, 900, 5_000])
def test_no_depth_of_tables_gets_through(folder, depth):
    path = folder / "deep.toml"
    for text in (".".join(["a"] * depth) + " = 1", "[node]\nname = " + "[" * depth + "]" * depth):
        path.write_text(text)
        assert loaded(path) is None


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_trust_root_and_a_record_or_a_list_of_mistakes(folder, content):
    (folder / "any.json").write_bytes(content)
    path = folder / "named.toml"
    path.write_text('[node]\nname = "a"\ntrust_root = "any.json"\nrecords = ["any.json"]\n')
    assert loaded(path) is None


usual_names = st.from_regex(r"\A[a-z][a-z0-9-]{0,10}[a-z0-9]\Z")
ports = st.integers(1, 65535).map("127.0.0.1:{}".format)
seconds = st.floats(0.001, 1e6) | st.integers(1, 10**6)
good_documents = st.fixed_dictionaries(
    {
        "node": st.fixed_dictionaries(
            {
                "name": usual_names,
                "roles": st.lists(usual_names, max_size=3).map(lambda some: ["ingress", *some]),
            },
            optional={
                "seeds": st.lists(ports, max_size=20),
                "records": st.lists(
                    st.sampled_from(["records", "records/home-1.json", "root.json"]), max_size=3
                ),
                "drain_timeout_s": seconds,
            },
        ),
        "services": st.dictionaries(
            usual_names,
            st.fixed_dictionaries(
                {},
                optional={
                    "backend": ports,
                    "idle_timeout_s": seconds,
                    "send_proxy": st.sampled_from(["", "v1", "v2"]),
                },
            ),
            max_size=3,
        ),
    },
    optional={
        "quic": st.fixed_dictionaries({"advertise": st.lists(ports, max_size=8)}),
        "log": st.fixed_dictionaries({"level": st.sampled_from(["debug", "error"])}),
    },
)


@settings(deadline=None)
@given(document=good_documents)
def test_what_is_right_is_taken(folder, document):
    config = parse_config(document, base=folder)
    node = document["node"]
    assert config.name == node["name"]
    assert [str(seed) for seed in config.seeds] == node.get("seeds", [])
    assert config.records == tuple(folder / path for path in node.get("records", []))
    assert config.services.keys() == document["services"].keys()
    for name, service in document["services"].items():
        assert config.services[name].idle_timeout == service.get("idle_timeout_s", 0)
