"""fabricd and fabric-ingress before they run: what they check, and what they do not import."""

from __future__ import annotations

import resource
import sys
import tomllib

import pytest
import trio

from services.authority import Authority

DAEMONS = ["cli.fabricd", "cli.fabric_ingress"]


@pytest.mark.parametrize(
    ("module", "node"), [("cli.fabricd", "home-1"), ("cli.fabric_ingress", "edge-1")]
)
async def test_a_good_file_exits_0(run_command, fabric, module, node):
    ran = await run_command(module, "--config", fabric.config_file(node), "--check-config")
    assert (ran.code, ran.err) == (0, "")
    assert "no mistakes" in ran.out


async def test_a_good_file_tells_the_public_key_as_the_nodes_record_holds_it(run_command, fabric):
    path = fabric.config_file("home-1")
    ran = await run_command("cli.fabricd", "--config", path, "--check-config")
    told = tomllib.loads(ran.out.splitlines()[-1])
    with Authority.open(fabric.authority, to_change=False) as authority:
        assert told["public_key"] == authority.node("home-1").key_bytes.hex()


@pytest.mark.parametrize("module", DAEMONS)
async def test_every_mistake_is_told_at_once_with_its_place(run_command, fabric, module):
    path = fabric.config_file("edge-1")
    path.write_text(
        path.read_text()
        .replace('name = "edge-1"', "name = 7")
        .replace("[log]", "[log]\nlevle = 'info'")
        .replace('service = "demo"', "service = []")
    )
    for flags in (["--check-config"], []):
        ran = await run_command(module, "--config", path, *flags)
        assert ran.code == 1
        assert len(ran.err.splitlines()) == 3
        for place in ("node.name: ", "log.levle: ", "].service: "):
            assert place in ran.err


async def test_fabric_ingress_wants_the_role_and_a_listener(run_command, fabric):
    path = fabric.config_file("test-1")
    ran = await run_command("cli.fabric_ingress", "--config", path, "--check-config")
    assert ran.code == 1
    assert [line.split(":")[0] for line in ran.err.splitlines()] == ["node.roles", "listeners"]
    assert (await run_command("cli.fabricd", "--config", path, "--check-config")).code == 0


@pytest.mark.parametrize("module", DAEMONS)
async def test_a_file_that_is_not_there_exits_1_and_no_file_exits_2(run_command, tmp_path, module):
    assert (await run_command(module, "--config", tmp_path / "none", "--check-config")).code == 1
    assert (await run_command(module)).code == 2
    assert (await run_command(module, "--version")).code == 0


@pytest.mark.parametrize("module", DAEMONS)
async def test_a_daemon_starts_without_tables_and_frameworks(module):
    heavy = ["rich.console", "cyclopts", "starlette", "cryptography", "prometheus_client"]
    code = f"import sys, {module}; print([one for one in {heavy} if one in sys.modules])"
    result = await trio.run_process([sys.executable, "-c", code], capture_stdout=True)
    assert result.stdout.decode().strip() == "[]"


async def test_a_daemon_may_open_as_many_files_as_its_hard_limit_says():
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE,"
        " (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "from cli.daemon import raise_descriptor_limit\n"
        "raise_descriptor_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    result = await trio.run_process([sys.executable, "-c", code], capture_stdout=True)
    assert int(result.stdout) == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
