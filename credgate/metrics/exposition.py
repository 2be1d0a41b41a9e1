"""From counters and readings to the page that Prometheus scrapes: names, labels, help texts.

Follows the text exposition format 0.0.4, which ``prometheus_client`` writes; names follow Prometheus's own conventions
(base units, ``_total`` for counters). ``docs/metrics.md`` lists them, and a test compares. The registry is this
gateway's own, never the library's global one. A label's value comes from a closed enumeration or from the
configuration: see ``tally``. Nothing here is secret, and nothing names a session, a repository or a client.
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
MESSAGES: Final = ("hits", "judged", "silent", "faults", "limited")
"""What a DNS message was met with: each counts once."""
OUTCOMES: Final = ("refused", "asked", "failed", "stale", "truncated")
"""What became of the judged ones: one may count as several."""
FOREIGN: Final = "control-peer"
"""Of the names in ``Gauges.refused`` the one that is no limit: users who may not use the control socket."""
CHECKS: Final = frozenset({"serving", "git", "sessions", "audit", "dns"})
"""Those of ``GET /v1/ready``."""


class MetricsPage:
    """Everything that is told. ``page()`` returns the bytes of a scrape; ``checks`` are those of ``/v1/ready``."""

    def __init__(self, tally: EventCounters, readings: Gauges, version: str) -> None:
        self._collector = _Gateway(tally, readings, version)
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self._collector)
        ProcessCollector(registry=self.registry)

    def __call__(self, checks: Mapping[str, bool]) -> bytes:
        """Write the page."""
        self._collector.checks = checks
        return generate_latest(self.registry)


class _Gateway(Collector):
    """Credgate's own metrics."""

    def __init__(self, tally: EventCounters, readings: Gauges, version: str) -> None:
        self._tally, self._readings, self._version = tally, readings, version
        self.checks: Mapping[str, bool] = {}

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not read the parts, which do not run yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything."""
        yield _gauge("build_info", "1; the label says what runs.", [(self._version, 1.0)], "version")
        checks = [(name, float(state is True)) for name, state in self.checks.items() if name in CHECKS]
        yield _gauge(
            "ready", "1 if the check of GET /v1/ready holds, else 0; no sample: it could not be told.", checks, "check"
        )
        yield from self._requests()
        yield from self._carried()
        yield from self._refused()
        yield from self._sessions()
        yield from self._credentials()
        yield from self._dns()
        yield from self._audit()
        yield _gauge("reactor_timers", "Calls that the reactor has still to make.", _one(self._readings.timers()))
        yield _gauge("threads", "Threads of the process.", _one(self._readings.threads()))

    def _requests(self) -> Iterator[Metric]:
        labels = ("operation", "decision", "reason")
        yield _counter("requests", "Requests that have ended.", self._tally.requests.items(), *labels)
        moved = [("up", self._tally.bytes_up), ("down", self._tally.bytes_down)]
        text = "Body bytes of requests that have ended, towards the forge (up) and the sandbox (down)."
        yield _counter("bytes", text, moved, "direction")
        text = "Time from the request's head to the head of the forge's answer; an upload is part of it."
        family = HistogramMetricFamily("credgate_upstream_seconds", text, labels=("forge", "operation"))
        for key, durations in self._tally.upstream.items():
            family.add_metric(key, durations.cumulative(), durations.total)
        yield family

    def _carried(self) -> Iterator[Metric]:
        yield _gauge("connections", "Open connections of sandboxes.", _one(self._readings.connections()))
        yield _gauge("transfers", "Requests that run for sessions.", _one(self._readings.transfers()))
        pool = self._readings.pool()
        both = [("busy", pool.busy), ("idle", pool.idle)]
        yield _gauge("pool_connections", "Open connections to forges.", both, "state")

    def _refused(self) -> Iterator[Metric]:
        refused = dict(self._readings.refused())
        text = "Connections of users that may not use the control socket."
        yield _counter("control_refusals", text, _one(refused.pop(FOREIGN, 0)))
        yield _counter("connections_refused", "Connections that a limit refused.", refused.items(), "limit")

    def _sessions(self) -> Iterator[Metric]:
        tally, readings = self._tally, self._readings
        yield _gauge(
            "sessions", "Live sessions, and those that expired since the last round.", _one(readings.sessions())
        )
        yield _gauge("sessions_max", "How many there may be (sessions.max_sessions).", _one(readings.max_sessions))
        yield _counter("sessions_created", "Sessions made.", _one(tally.sessions_created))
        yield _counter("sessions_extended", "Sessions given more time.", _one(tally.sessions_extended))
        yield _counter("sessions_ended", "Sessions that are no more.", tally.sessions_ended.items(), "reason")
        rounds = readings.rounds()
        both = [("succeeded", rounds.succeeded), ("failed", rounds.failed)]
        yield _counter("gc_runs", "Rounds that end expired sessions.", both, "result")
        name, text = "gc_last_success_timestamp_seconds", "When the last such round ended well; 0: none has."
        yield _gauge(name, text, _one(rounds.last_success))

    def _credentials(self) -> Iterator[Metric]:
        yield _counter("credentials_minted", "Short-lived credentials obtained.", self._tally.minted.items(), "forge")
        yield _counter("credentials_taken_back", "Those revoked at the forge.", self._tally.taken_back.items(), "forge")
        failures = self._tally.failures.items()
        yield _counter("credential_failures", "Credentials that were not to be had.", failures, "forge", "reason")
        trouble: dict[str, float] = {}
        ends: dict[tuple[str, str], float] = {}
        for held in self._readings.credentials():
            trouble[held.forge] = max(trouble.get(held.forge, 0.0), float(held.in_trouble))
            if held.expires_at is not None:
                key = (held.forge, held.kind)
                ends[key] = min(ends.get(key, held.expires_at), held.expires_at)
        yield _gauge(
            "credential_trouble", "1 if one of the forge's credentials is not to be had.", trouble.items(), "forge"
        )
        name, text = (
            "credential_expires_timestamp_seconds",
            "When the first of the forge's credentials of this kind ends.",
        )
        yield _gauge(name, text, ends.items(), "forge", "kind")

    def _dns(self) -> Iterator[Metric]:
        counters = self._readings.dns()
        text = "DNS messages, by what they were met with."
        yield _counter("dns_questions", text, _some(counters, MESSAGES), "verdict")
        text = "What became of judged questions; one may count as several."
        yield _counter("dns_outcomes", text, _some(counters, OUTCOMES), "outcome")
        refused = counters.get("connections_refused", 0)
        yield _counter("dns_connections_refused", "TCP connections over the limits.", _one(refused))

    def _audit(self) -> Iterator[Metric]:
        audit = self._readings.audit()
        yield _counter("audit_lines", "Lines written to the audit log.", _one(audit.lines))
        yield _counter("audit_lost", "Events that could not be told there.", _one(audit.lost))
        yield _gauge("audit_writable", "1 if it can be written; at 0 nothing is served.", _one(audit.writable))


def _one(value: float) -> Values:
    """Return the only value of a metric without labels."""
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
