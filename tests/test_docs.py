"""Numbers, reasons, forge sentences and statuses in the documents match the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credgate.config.schema import DnsConfig, ForgeConfig, Limits
from credgate.config.structure import KINDS
from credgate.dns import answer, codes, query, reply, responder
from credgate.dns import upstream_response as dns_response
from credgate.forges.registry import driver_for
from credgate.forges.sentences import COMMON
from credgate.http import grammar
from credgate.http import response as http_response
from credgate.lfs import batch, reading
from credgate.service.control import http_server, readiness, routes
from credgate.service.credentials import acceptance_check, credential_command, fetched, renewal
from credgate.service.credentials import api_client as minting_api
from credgate.service.dns import dns_service, listeners, resolver
from credgate.service.inspect import compare_client, pack_reader
from credgate.service.sandbox.lfs import object_upload as lfs_upload
from credgate.sessions import body as session_body
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from credgate.forges.sentences import Words

DOCS = Path(__file__).parent.parent / "docs"


def test_every_reason_code_has_a_row() -> None:
    """Operators look up a code from the audit log there; a row of a removed code would mislead them."""
    listed = re.findall(r"^\| `([a-z-]+)` \|", (DOCS / "operations.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(Reason)


def _listed(section: str) -> Words:
    """Read the table of one kind's sentences."""
    rows = re.findall(r"^\| (\d+|5xx|other)(?:, (read|write))? \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE)
    statuses = {"5xx": 500, "other": 400}
    named = [(statuses.get(status) or int(status), access, words) for status, access, words in rows]
    return {(status, Access(access)) if access else status: words for status, access, words in named}


def test_every_forge_sentence_is_listed_word_for_word() -> None:
    """A user who sees the sentence in git's output finds it there, with the remedy."""
    part = (DOCS / "operations.md").read_text().partition("\n## What a forge's refusal means\n")[2]
    sections = {
        name: _listed(text)
        for name, text in re.findall(r"^### ([^\n]+)\n(.*?)(?=^###|\Z)", part, re.MULTILINE | re.DOTALL)
    }
    kinds = {f"Kind `{kind}`": driver_for(ForgeConfig("x", kind, "https://x.example")) for kind in KINDS}
    spoken = {name: dict(driver.words) for name, driver in kinds.items() if driver.words}
    assert len(spoken) == len(KINDS) - 1  # generic has none of its own
    assert sections == {"Any forge": dict(COMMON)} | spoken


def test_every_kind_of_forge_is_described() -> None:
    """Each has a row with names and login, and a paragraph about its credential."""
    text = (DOCS / "configuration.md").read_text().partition("\n### Kinds of forges\n")[2].partition("\n### ")[0]
    shapes = {kind: driver_for(ForgeConfig("x", kind, "https://x.example")).shape for kind in KINDS}
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE) == list(KINDS)
    assert re.findall(r"^\*\*`([a-z-]+)`\*\*: ", text, re.MULTILINE) == list(KINDS)
    assert [kind for kind, shape in shapes.items() if shape.removeprefix("scm/") not in text] == ["generic"]


STATED = [
    # A number that a document states, as a pattern with one group, and what the code has.
    ("dns.md", r"aliases are followed here, (\w+) at most", {"eight": answer.MAX_CHAIN}),
    ("dns.md", r"so that it is cached (\d+) s", reply.REFUSAL_TTL),
    ("dns.md", r"the answer, TTL (\d+)", responder.STALE_TTL),
    ("dns.md", r"all of it within ([\d.]+) s", resolver.DEADLINE),
    ("dns.md", r"bounded: (\d+) octets", DnsConfig().max_name),
    ("dns.md", r"bounded: \d+ octets, (\d+) labels", DnsConfig().max_labels),
    ("dns.md", r"labels, (\d+) octets a label", DnsConfig().max_label),
    ("dns.md", r"host names, (\d+)\ndifferent names a minute", DnsConfig().names_per_minute),
    ("dns.md", r"different names a minute and client, (\w+) times that for all", {"ten": responder.ALL_CLIENTS}),
    ("dns.md", r"escaped name\), (\w+) a client and minute", {"thirty": DnsConfig().audit_per_minute}),
    ("dns.md", r"takes at most (\d+) KiB of datagrams", dns_service.MAX_THROUGHPUT // 1024),
    ("dns.md", r"TCP: (\d+) connections", DnsConfig().tcp_connections),
    ("dns.md", r"connections, (\d+) an address", DnsConfig().tcp_connections_per_address),
    ("dns.md", r"an address, (\d+) s idle", listeners.IDLE),
    ("dns.md", r"idle, (\d+) s for a message", listeners.MESSAGE),
    ("dns.md", r"for a message, (\d+)\nquestions in flight", listeners.MAX_IN_FLIGHT),
    ("dns.md", r"Queries of more than (\d+) octets are malformed", query.MAX_QUERY),
    ("dns.md", r"length of 0 or above (\d+) closes", query.MAX_QUERY),
    ("dns.md", r"what the\s+client says up to (\d+)", codes.EDNS_UDP),
    ("dns.md", r"Replies over UDP: (\d+) octets", codes.PLAIN_UDP),
    ("control-api.md", r"at most (\d+) bytes, nested", http_server.MAX_BODY),
    ("control-api.md", r"nested at most (\d+) deep", routes.MAX_DEPTH),
    ("control-api.md", r"does not end within (\d+) s is `false`", readiness.TIMEOUT),
    ("control-api.md", r"within (\d+) s \(25 s", minting_api.TIME_LIMIT),
    ("control-api.md", r"within 10 s \((\d+) s with", acceptance_check.TIME_LIMIT),
    ("control-api.md", r"list of at most (\d+) names", session_body.MAX_NAMES),
    ("configuration.md", r"exit with status 0 within\s(\d+) s", credential_command.TIME_LIMIT),
    ("configuration.md", r"print at most (\d+) KiB; its stderr", credential_command.MAX_OUTPUT // 1024),
    ("configuration.md", r"at most once in (\d+) s", renewal.FORCED_SECONDS),
    ("configuration.md", r"it is retried after (\d+) s", fetched.FAILED_SECONDS),
    ("configuration.md", r"cached for at most (\d+) s", DnsConfig().max_ttl),
    ("configuration.md", r"\((\d+) s if there is no data", DnsConfig().negative_ttl),
    ("configuration.md", r"no data, (\d+) h longer", DnsConfig().stale_ttl / 3600),
    ("configuration.md", r"while upstream is down\), (\d+) of them", DnsConfig().cache_size),
    ("configuration.md", r"wildcard has at most (\d+) octets", DnsConfig().max_name),
    ("configuration.md", r"(\d+) audit lines a minute", DnsConfig().audit_per_minute),
    ("operations.md", r"more than `limits.max_head` bytes or (\d+) fields", grammar.MAX_FIELDS),
    ("operations.md", r"`limits.drain_timeout` \((\d+) s", Limits().drain_timeout),
    ("lfs.md", r"at most (\d+) in one batch", batch.MAX_OBJECTS),
    ("lfs.md", r"A batch of more than (\d+) MiB", reading.MAX_REQUEST // 1024**2),
    ("lfs.md", r"uploads of up to (\d+) KiB go over", lfs_upload.SMALL // 1024),
    ("attacks.md", r"(\d+) interim answers, 32 KiB", http_response.MAX_INTERIM),
    ("attacks.md", r"interim answers, (\d+) KiB", http_response.MAX_HEAD // 1024),
    ("attacks.md", r"go backwards only, 64 a name; (\d+) records", dns_response.MAX_RECORDS),
    ("architecture.md", r"at\s+most (\d+) requests a push", compare_client.MAX_REQUESTS),
    ("architecture.md", r"in pieces of\s+(\d+) KiB", pack_reader.PIECE // 1024),
    ("architecture.md", r"more than (\d+) KiB behind pauses its sandbox", pack_reader.FULL // 1024),
]


@pytest.mark.parametrize(("file", "pattern", "value"), STATED, ids=lambda part: str(part)[:40])
def test_number_in_document_matches_code(file: str, pattern: str, value: float | dict[str, float]) -> None:
    """Each number is stated once. If a sentence is reworded, its pattern must change too."""
    said = re.findall(pattern, (DOCS / file).read_text())
    assert len(said) == 1, "the sentence is missing, or occurs twice"
    words = {"eight": 8, "ten": 10, "thirty": 30}
    if isinstance(value, dict):
        assert value == {said[0]: words[said[0]]}
    else:
        assert float(said[0]) == value


def test_every_error_status_of_the_control_api_has_a_row() -> None:
    """The statuses are read from the source of the routes; 2xx statuses are documented with each route."""
    source = (DOCS.parent / "credgate" / "service" / "control" / "routes.py").read_text()
    sent = set(re.findall(r"send\(request, (?:\d{3} if \w+(?:\([^)]*\))? else )?([45]\d\d)", source))
    listed = set(re.findall(r"^\| ([45]\d\d) \|", (DOCS / "control-api.md").read_text(), re.MULTILINE))
    assert sent
    assert sent <= listed
