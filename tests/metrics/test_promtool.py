"""Prometheus' own ``promtool`` on what is shipped: rules and panels parse, each alert fires, the page is well made.

Debian's ``prometheus`` has it, with a server and 300 MB that nothing else here needs.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.metrics.test_exposition import CHECKS, page

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCS = Path(__file__).parents[2] / "docs" / "metrics"
RULES = DOCS / "alerts.yml"
AT = {"instance": "gw", "job": "credgate"}

pytestmark = pytest.mark.needs("promtool")

FIRING: Mapping[str, tuple[str, str, dict[str, str]]] = {
    "CredgateAbsent": ("up", "0x60", {}),
    "CredgateNotReady": ("credgate_ready", "0x60", {"check": "git"}),
    "CredgateAuditUnwritable": ("credgate_audit_writable", "0x60", {}),
    "CredgateAuditLost": ("credgate_audit_lost_total", "0x50 1x10", {}),
    "CredgateCredentialFailing": ("credgate_credential_trouble", "1x60", {"forge": "github.com", "kind": "file"}),
    "CredgateCredentialRefused": ("credgate_requests_total", "0+1x60", {"reason": "forge-refused-credential"}),
    "CredgateCredentialExpiring": (
        *("credgate_credential_expires_timestamp_seconds", "86400x60", {"forge": "github.com", "kind": "file"}),
    ),
    "CredgateDeniedBurst": ("credgate_requests_total", "0+120x60", {"decision": "deny", "reason": "push-ref"}),
    "CredgateDnsRefusedBurst": ("credgate_dns_outcomes_total", "0+400x60", {"outcome": "refused"}),
    "CredgateForgeFailing": ("credgate_requests_total", "0+30x60", {"reason": "forge-timeout"}),
    "CredgateSessionsNearlyFull": ("credgate_sessions", "95x60", {}),
    "CredgateRoundsFailing": ("credgate_gc_runs_total", "0+1x60", {"result": "failed"}),
}
"""For each alert a series that it is about: its values, one a minute, and its labels beside ``AT``."""
WELL = [
    ("up", "1x60", {}),
    ("credgate_ready", "1x60", {"check": "git"}),
    ("credgate_audit_writable", "1x60", {}),
    ("credgate_audit_lost_total", "0x60", {}),
    ("credgate_credential_trouble", "0x60", {"forge": "github.com", "kind": "file"}),
    ("credgate_credential_expires_timestamp_seconds", "9000000x60", {"forge": "github.com", "kind": "file"}),
    ("credgate_credential_expires_timestamp_seconds", "3600x60", {"forge": "github.com", "kind": "app"}),
    ("credgate_requests_total", "0+600x60", {"decision": "allow", "reason": "allowed"}),
    ("credgate_requests_total", "0+1x60", {"decision": "deny", "reason": "push-ref"}),
    ("credgate_dns_outcomes_total", "0+6x60", {"outcome": "refused"}),
    ("credgate_sessions", "5x60", {}),
    ("credgate_sessions_max", "100x60", {}),
    ("credgate_gc_runs_total", "0+1x60", {"result": "ok"}),
]


def promtool(*words: str | Path, stdin: bytes = b"") -> str:
    """Run it; what it says of what it was given."""
    ran = subprocess.run(["promtool", *words], input=stdin, capture_output=True, timeout=60, check=False)
    said = (ran.stdout + ran.stderr).decode()
    assert ran.returncode == 0, said
    return said


def series(name: str, values: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Write one as rule tests have it."""
    shown = ",".join(f'{key}="{value}"' for key, value in (AT | dict(labels)).items())
    return {"series": f"{name}{{{shown}}}", "values": values}


def unit(folder: Path, inputs: list[dict[str, str]], expected: list[dict[str, Any]]) -> Path:
    """Write a rule test of what holds after an hour."""
    test = {"interval": "1m", "input_series": inputs, "alert_rule_test": expected}
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    return path


def rules() -> dict[str, dict[str, Any]]:
    """Return the shipped rules by name."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_the_rules_are_rules() -> None:
    """All of them, by the program that will read them."""
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", RULES)


def test_every_panel_asks_in_promql(tmp_path: Path) -> None:
    """Each expression as a rule of its own, an instance in place of the dashboard's variable."""
    panels = json.loads((DOCS / "dashboard.json").read_text())["panels"]
    asked = [target["expr"].replace("$instance", ".*") for panel in panels for target in panel["targets"]]
    made = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(asked)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    assert f"SUCCESS: {len(made)} rules found" in promtool("check", "rules", path)


@pytest.mark.parametrize("name", FIRING)
def test_each_alert_fires(tmp_path: Path, name: str) -> None:
    """On the one thing that it is about, with the labels that its words name."""
    metric, values, labels = FIRING[name]
    rest = [one for one in WELL if (one[0], one[2]) != (metric, labels)]
    expression = rules()[name]["expr"]
    by = re.search(r"by \(([^)]*)\)", expression)
    kept = {key: value for key, value in (AT | labels).items() if by is None or key in by[1].split(", ")}
    words = {key: _filled(text, kept) for key, text in rules()[name]["annotations"].items()}
    alert = {"exp_labels": kept | rules()[name]["labels"], "exp_annotations": words}
    expected = [{"eval_time": "58m", "alertname": name, "exp_alerts": [alert]}]
    made = [*(series(*one) for one in rest), series(metric, values, labels)]
    promtool("test", "rules", unit(tmp_path, made, expected))


def test_none_fires_where_all_is_well(tmp_path: Path) -> None:
    """An alert that is always on is looked at by nobody."""
    expected = [{"eval_time": "58m", "alertname": name, "exp_alerts": []} for name in rules()]
    promtool("test", "rules", unit(tmp_path, [series(*one) for one in WELL], expected))


def test_every_alert_is_tried() -> None:
    """The tests above are about all of them."""
    assert list(FIRING) == list(rules())


def test_the_page_is_as_prometheus_would_have_it() -> None:
    """Names, units, types and help texts: the linter has nothing to say."""
    assert promtool("check", "metrics", stdin=page()(CHECKS)) == ""


def _filled(text: str, labels: Mapping[str, str]) -> str:
    """Fill in the labels as Prometheus does: nothing for one that is not there."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels.get(match[1], ""), text)
