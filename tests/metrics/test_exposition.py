"""The page of metrics: its names are the documented ones, and the shipped alerts and dashboard use no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from attrs import evolve
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from credgate.audit.event import Event, Happening
from credgate.metrics.counters import EventCounters
from credgate.metrics.exposition import CONTENT_TYPE, MetricsPage
from credgate.metrics.gauges import AuditState, Gauges, GcGauges, HeldSessions, Pool
from credgate.values import Reason

DOCS = Path(__file__).parents[2] / "docs"
DNS = {"hits": 1, "judged": 2, "silent": 3, "faults": 4, "refused": 5, "connections_refused": 6}
READINGS = Gauges(
    sessions=lambda: 7,
    max_sessions=100,
    connections=lambda: 3,
    transfers=lambda: 2,
    pool=lambda: Pool(busy=1, idle=4),
    dns=lambda: DNS,
    rounds=lambda: GcGauges(succeeded=9, failed=1, last_success=1_700_000_000.0),
    audit=lambda: AuditState(lines=12, lost=0, writable=True),
    credentials=lambda: [
        HeldSessions("github.com", "file", None, in_trouble=False),
        HeldSessions("github.com", "app", 2000.0, in_trouble=True),
        HeldSessions("github.com", "app", 1000.0, in_trouble=False),
    ],
    timers=lambda: 5,
    threads=lambda: 4,
    refused=lambda: {"max_connections": 8, "control-peer": 2},
)
CHECKS = {"serving": True, "git": True, "audit": False}


def page(**more: Any) -> MetricsPage:
    """Make one of a gateway that has served a little."""
    tally = EventCounters(["github.com"])
    base = {"operation": "git-upload-pack", "allow": True, "reason": Reason.ALLOWED, "forge": "github.com"}
    tally.observe(Event(wall=0.0, event=Happening.REQUEST, bytes_down=5, answered=0.3, **base))
    tally.observe(Event(wall=0.0, event=Happening.CREDENTIAL_MINTED, forge="github.com"))
    return MetricsPage(tally, evolve(READINGS, **more), "1.2.3")


def samples(written: bytes) -> dict[str, float]:
    """Read the page as Prometheus does: ``name{label=value}`` and what stands behind it."""
    found = {}
    for family in text_string_to_metric_families(written.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def test_everything_is_told() -> None:
    """One line of each kind, as a scrape has it."""
    told = samples(page()(CHECKS))
    expected = {
        "credgate_build_info{version=1.2.3}": 1,
        "credgate_ready{check=git}": 1,
        "credgate_ready{check=audit}": 0,
        "credgate_requests_total{decision=allow,operation=git-upload-pack,reason=allowed}": 1,
        "credgate_bytes_total{direction=down}": 5,
        "credgate_upstream_seconds_bucket{forge=github.com,le=0.25,operation=git-upload-pack}": 0,
        "credgate_upstream_seconds_bucket{forge=github.com,le=0.5,operation=git-upload-pack}": 1,
        "credgate_upstream_seconds_count{forge=github.com,operation=git-upload-pack}": 1,
        "credgate_upstream_seconds_sum{forge=github.com,operation=git-upload-pack}": 0.3,
        "credgate_pool_connections{state=idle}": 4,
        "credgate_connections_refused_total{limit=max_connections}": 8,
        "credgate_control_refusals_total": 2,
        "credgate_sessions": 7,
        "credgate_sessions_ended_total{reason=revoked}": 0,
        "credgate_gc_runs_total{result=failed}": 1,
        "credgate_gc_last_success_timestamp_seconds": 1_700_000_000.0,
        "credgate_credentials_minted_total{forge=github.com}": 1,
        "credgate_credential_trouble{forge=github.com}": 1,
        "credgate_credential_expires_timestamp_seconds{forge=github.com,kind=app}": 1000,
        "credgate_dns_questions_total{verdict=hits}": 1,
        "credgate_dns_outcomes_total{outcome=refused}": 5,
        "credgate_dns_connections_refused_total": 6,
        "credgate_audit_lines_total": 12,
        "credgate_audit_writable": 1,
        "credgate_reactor_timers": 5,
    }
    assert {name: told.get(name) for name in expected} == expected
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"


def test_what_is_not_there_is_not_told() -> None:
    """Without a DNS server it has no counters; where the checks could not be told there are none."""
    told = samples(page(dns=dict, credentials=list)({}))
    without = ("credgate_dns_questions", "credgate_dns_outcomes", "credgate_ready", "credgate_credential_")
    assert [name for name in told if name.startswith(without)] == []


def test_a_check_that_nobody_knows_makes_no_series() -> None:
    """Label values are a closed list."""
    told = samples(page()({"git": True, "else": True}))
    assert [name for name in told if "check=" in name] == ["credgate_ready{check=git}"]


def test_the_library_s_own_registry_is_left_alone() -> None:
    """Two gateways in one process, or a plugin beside it, must not mix."""
    page()
    page()
    assert [family.name for family in REGISTRY.collect() if family.name.startswith("credgate")] == []


def _exposed() -> dict[str, tuple[str, set[str], str]]:
    """Return type, labels and text of each of our metrics by the name that Prometheus knows."""
    found = {}
    for family in page().registry.collect():
        if family.name.startswith("credgate_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = (family.type, set(family._labelnames), family.documentation)  # type: ignore[attr-defined]
    return found


def test_the_table_is_what_is_exposed() -> None:
    """Name, type, labels and words: a metric that was added, or changed, is one that is documented."""
    rows = re.findall(
        r"^\| `(credgate_\w+)` \| (\w+) \|([^|]*)\| ([^|]+) \|$", (DOCS / "metrics.md").read_text(), re.MULTILINE
    )
    listed = {name: (kind, set(re.findall(r"`(\w+)`", labels)), text.strip()) for name, kind, labels, text in rows}
    assert listed == _exposed()


def _known(expression: str) -> set[str]:
    """Return the metrics that an expression names and nobody exposes."""
    named = set(re.findall(r"\b(?:credgate|process)_\w+", expression))
    process = {"process_resident_memory_bytes", "process_open_fds"}
    return {name for name in named if re.sub(r"_(bucket|sum|count)$", "", name) not in {*_exposed(), *process}}


def test_the_alerts_name_what_is_exposed() -> None:
    """A rule on a metric that is not there never fires."""
    (group,) = yaml.safe_load((DOCS / "metrics" / "alerts.yml").read_text())["groups"]
    assert len(group["rules"]) >= 10
    for rule in group["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert _known(rule["expr"]) == set(), rule["alert"]
        for pattern in re.findall(r'reason=~?"([^"]+)"', rule["expr"]):
            for part in pattern.split("|"):
                assert any(re.fullmatch(part, reason) for reason in Reason), part


def test_the_dashboard_names_what_is_exposed() -> None:
    """An empty panel is found when it is needed."""
    dashboard = json.loads((DOCS / "metrics" / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 10
    for panel in panels:
        for target in panel["targets"]:
            assert "credgate_" in target["expr"] or "process_" in target["expr"]
            assert _known(target["expr"]) == set(), panel["title"]
    shown = json.dumps(dashboard)
    assert {name for name in ("credgate_requests_total", "credgate_audit_writable", "credgate_ready") if name in shown}
