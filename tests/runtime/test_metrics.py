"""What a node counts, as Prometheus reads it."""

import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fabric.codes import Code
from fabric.runtime.metrics import MAX_SERIES, Metrics, Tally

SNAPSHOT = {
    "v": 1,
    "node": {
        "name": "home-1",
        "id": "abc",
        "area": "home",
        "roles": [],
        "instance": "1",
        "release": "0.1",
        "state": "ready",
        "uptime_s": 12.5,
        "tasks": 21,
        "listen": "127.0.0.1:4433",
    },
    "peers": [
        {"name": "test-1", "state": "connected", "rtt_ms": 2.0},
        {"name": "usa-los-1", "state": "dialling", "rtt_ms": None},
    ],
    "channels": [
        {"service": "demo", "direction": "out", "sent_bytes": 10, "received_bytes": 3},
        {"service": "demo", "direction": "out", "sent_bytes": 5, "received_bytes": 0},
    ],
    "planes": [
        {"name": "peers", "state": "running", "last_progress_s": 0.25},
        {"name": "admin", "state": "restarting", "last_progress_s": None},
    ],
    "services": [],
    "listeners": [
        {"name": "web", "connections": 2, "max_connections": 100, "service": "demo"},
    ],
    "counters": {"quic.packets_sent": 7},
}


def scraped(metrics):
    text, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_what_was_counted_is_scraped_with_codes_by_label():
    metrics = Metrics()
    metrics.channels_opened.add("demo", "out")
    metrics.channels_opened.add("demo", "out", by=2)
    metrics.channels_refused.add("demo", Code.NO_INSTANCE, "out")
    metrics.hellos_refused.add(Code.UNKNOWN_KEY, "acceptor")
    seen = scraped(metrics)
    assert seen["fabric_channels_opened_total", "demo", "out"] == 3
    assert seen["fabric_channels_refused_total", "demo", "no_instance", "out"] == 1
    assert seen["fabric_hellos_refused_total", "acceptor", "unknown_key"] == 1


def test_gauges_are_read_off_the_snapshot_during_the_scrape():
    metrics = Metrics()
    reads = []
    metrics.observe(lambda: reads.append(1) or SNAPSHOT)
    assert reads == []
    seen = scraped(metrics)
    assert seen["fabric_node_info", "0.1", "abc", "home", "home-1"] == 1
    assert seen["fabric_node_state", "ready"] == 1
    assert seen["fabric_peers", "connected"] == seen["fabric_peers", "dialling"] == 1
    assert seen["fabric_peer_rtt_seconds", "test-1"] == pytest.approx(0.002)
    assert ("fabric_peer_rtt_seconds", "usa-los-1") not in seen
    assert seen["fabric_channels_open", "demo", "out"] == 2
    assert seen["fabric_plane_progress_age_seconds", "peers"] == 0.25
    assert seen["fabric_plane_running", "admin"] == 0
    assert seen["fabric_ingress_connections", "web"] == 2
    assert seen["fabric_quic_packets_sent_total",] == 7
    assert seen["process_resident_memory_bytes",] > 1e6


def test_a_channels_bytes_count_while_it_is_open_and_once_it_ended():
    metrics = Metrics()
    metrics.observe(lambda: SNAPSHOT)
    metrics.channel_bytes.add("demo", "sent", by=100)
    seen = scraped(metrics)
    assert seen["fabric_channel_bytes_total", "demo", "sent"] == 115
    assert seen["fabric_channel_bytes_total", "demo", "received"] == 3


def test_a_peer_that_invents_service_names_cannot_grow_the_node():
    tally = Tally("t", "", ("service",))
    tally.add("known")
    for number in range(10 * MAX_SERIES):
        tally.add(f"invented-{number}")
    tally.add("known")
    assert len(tally.series) == MAX_SERIES + 1
    assert tally.series["known",] == 2
    assert tally.series["other",] == 9 * MAX_SERIES + 1


def test_a_wrong_number_of_labels_is_a_bug_told_at_once():
    with pytest.raises(ValueError, match="service"):
        Metrics().channels_opened.add("demo")


def test_two_nodes_of_one_process_count_apart():
    one, two = Metrics(), Metrics()
    one.ingress_accepted.add("web")
    assert two.ingress_accepted.series == {}
    assert one.registry is not two.registry


def test_prometheus_is_imported_by_the_first_scrape_and_not_before():
    program = (
        "import sys; from fabric.runtime.metrics import Metrics; m = Metrics();"
        "m.ingress_accepted.add('web'); assert 'prometheus_client' not in sys.modules;"
        "m.render(); assert 'prometheus_client' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
