"""Renders counters and gauges as the page that Prometheus scrapes: names, labels, help texts.

The page has the text exposition format 0.0.4, which ``prometheus_client`` writes; names follow its conventions
(base units, ``_total`` for counters). ``docs/metrics.md`` lists all metrics, and a test compares both. The registry is
this gateway's own, not the library's global one. The value of a label is from a closed enumeration or from the
configuration (see ``counters``). No metric contains a secret, a session, a repository or a client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from credgate.metrics.counters import EventCounters
    from credgate.metrics.gauges import Gauges

    Values = Iterable[tuple[str | tuple[str, ...], float]]

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
# The first verdict on a DNS message: each message counts once.
MESSAGES: Final = ("hits", "judged", "silent", "faults", "limited")
# Outcomes of judged queries: a query may count several times.
OUTCOMES: Final = ("refused", "asked", "failed", "stale", "truncated")
# The name in ``Gauges.refused`` that is not a limit: users without access to the control socket.
FOREIGN: Final = "control-peer"
CHECKS: Final = frozenset({"serving", "git", "sessions", "audit", "dns"})
"""The checks of ``GET /v1/ready``."""


class MetricsPage:
    """Renders all metrics. Calling it returns the bytes of a scrape; ``checks`` are the results of ``/v1/ready``."""

    def __init__(self, tally: EventCounters, readings: Gauges, version: str) -> None:
        self._collector = _Gateway(tally, readings, version)
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self._collector)
        ProcessCollector(registry=self.registry)

    def __call__(self, checks: Mapping[str, bool]) -> bytes:
        """Return the page for one scrape."""
        self._collector.checks = checks
        return generate_latest(self.registry)


class _Gateway(Collector):
    """Collects credgate's own metrics."""

    def __init__(self, tally: EventCounters, readings: Gauges, version: str) -> None:
        self._tally, self._readings, self._version = tally, readings, version
        self.checks: Mapping[str, bool] = {}

    def describe(self) -> list[Metric]:
        """Return no metrics at registration."""
        # The services do not run yet, so their gauges cannot be read.
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its current values."""
        yield _gauge("build_info", "1; the label is the running version.", [(self._version, 1.0)], "version")
        checks = [(name, float(state is True)) for name, state in self.checks.items() if name in CHECKS]
        yield _gauge(
            "ready",
            "1 if the check of GET /v1/ready passes, else 0; no sample if the checks failed to run.",
            checks,
            "check",
        )
        yield from self._requests()
        yield from self._carried()
        yield from self._refused()
        yield from self._sessions()
        yield from self._credentials()
        yield from self._dns()
        yield from self._audit()
        yield _gauge("reactor_timers", "Scheduled calls of the reactor.", _one(self._readings.timers()))
        yield _gauge("threads", "Threads of the process.", _one(self._readings.threads()))

    def _requests(self) -> Iterator[Metric]:
        labels = ("operation", "decision", "reason")
        yield _counter("requests", "Completed requests.", self._tally.requests.items(), *labels)
        moved = [("up", self._tally.bytes_up), ("down", self._tally.bytes_down)]
        text = "Body bytes of completed requests, towards the forge (up) and the sandbox (down)."
        yield _counter("bytes", text, moved, "direction")
        text = "Time from the request head to the head of the forge's response, including the upload."
        family = HistogramMetricFamily("credgate_upstream_seconds", text, labels=("forge", "operation"))
        for key, durations in self._tally.upstream.items():
            family.add_metric(key, durations.cumulative(), durations.total)
        yield family

    def _carried(self) -> Iterator[Metric]:
        yield _gauge("connections", "Open connections of sandboxes.", _one(self._readings.connections()))
        yield _gauge("transfers", "Requests in progress.", _one(self._readings.transfers()))
        pool = self._readings.pool()
        both = [("busy", pool.busy), ("idle", pool.idle)]
        yield _gauge("pool_connections", "Open connections to forges.", both, "state")

    def _refused(self) -> Iterator[Metric]:
        refused = dict(self._readings.refused())
        text = "Connections of users without access to the control socket."
        yield _counter("control_refusals", text, _one(refused.pop(FOREIGN, 0)))
        yield _counter("connections_refused", "Connections refused by a limit.", refused.items(), "limit")

    def _sessions(self) -> Iterator[Metric]:
        tally, readings = self._tally, self._readings
        yield _gauge("sessions", "Live sessions, and expired sessions not yet removed.", _one(readings.sessions()))
        yield _gauge("sessions_max", "Maximum number of sessions (sessions.max_sessions).", _one(readings.max_sessions))
        yield _counter("sessions_created", "Sessions created.", _one(tally.sessions_created))
        yield _counter("sessions_extended", "Sessions extended.", _one(tally.sessions_extended))
        yield _counter("sessions_ended", "Sessions ended.", tally.sessions_ended.items(), "reason")
        rounds = readings.rounds()
        both = [("succeeded", rounds.succeeded), ("failed", rounds.failed)]
        yield _counter("gc_runs", "Removals of expired sessions.", both, "result")
        name, text = (
            "gc_last_success_timestamp_seconds",
            "Time of the last successful removal of expired sessions; 0: none yet.",
        )
        yield _gauge(name, text, _one(rounds.last_success))

    def _credentials(self) -> Iterator[Metric]:
        yield _counter("credentials_minted", "Short-lived credentials obtained.", self._tally.minted.items(), "forge")
        yield _counter(
            "credentials_taken_back",
            "Short-lived credentials revoked at the forge.",
            self._tally.taken_back.items(),
            "forge",
        )
        failures = self._tally.failures.items()
        yield _counter("credential_failures", "Failures to obtain a credential.", failures, "forge", "reason")
        trouble: dict[str, float] = {}
        ends: dict[tuple[str, str], float] = {}
        for held in self._readings.credentials():
            trouble[held.forge] = max(trouble.get(held.forge, 0.0), float(held.in_trouble))
            if held.expires_at is not None:
                key = (held.forge, held.kind)
                ends[key] = min(ends.get(key, held.expires_at), held.expires_at)
        yield _gauge(
            "credential_trouble", "1 if a credential of the forge cannot be obtained.", trouble.items(), "forge"
        )
        name, text = (
            "credential_expires_timestamp_seconds",
            "Earliest expiry of the forge's credentials of this kind.",
        )
        yield _gauge(name, text, ends.items(), "forge", "kind")

    def _dns(self) -> Iterator[Metric]:
        counters = self._readings.dns()
        text = "DNS messages by first verdict."
        yield _counter("dns_questions", text, _some(counters, MESSAGES), "verdict")
        text = "Outcomes of judged DNS queries; a query may have several."
        yield _counter("dns_outcomes", text, _some(counters, OUTCOMES), "outcome")
        refused = counters.get("connections_refused", 0)
        yield _counter("dns_connections_refused", "DNS connections over TCP refused by a limit.", _one(refused))

    def _audit(self) -> Iterator[Metric]:
        audit = self._readings.audit()
        yield _counter("audit_lines", "Lines written to the audit log.", _one(audit.lines))
        yield _counter("audit_lost", "Events missing from the audit log.", _one(audit.lost))
        yield _gauge(
            "audit_writable", "1 if the audit log can be written; at 0 all requests are refused.", _one(audit.writable)
        )


def _one(value: float) -> Values:
    """Return the single value of a metric without labels."""
    return [((), value)]


def _some(counters: Mapping[str, int], names: tuple[str, ...]) -> Values:
    return [(name, counters[name]) for name in names if name in counters]


def _counter(name: str, text: str, values: Values, *labels: str) -> Metric:
    family = CounterMetricFamily(f"credgate_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric([key] if isinstance(key, str) else key, value)
    return family


def _gauge(name: str, text: str, values: Values, *labels: str) -> Metric:
    family = GaugeMetricFamily(f"credgate_{name}", text, labels=labels)
    for key, value in values:
        family.add_metric([key] if isinstance(key, str) else key, value)
    return family
