"""The running gateway: sessions, audit, reload, a failing upstream, failing starts."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.query
import pytest

from tests.e2e_dns.conftest import Served
from tests.fakes.needs import NOT_SHOWN
from tests.fakes.resolvers import answers
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from tests.e2e_dns.conftest import StartDns

NOBODY = 65534
OK = ["A 93.184.216.34"]


def test_a_sessions_names_are_for_its_address(start_dns: StartDns) -> None:
    """From the moment it begins to the moment it ends; audit lines name it."""
    served, _ = start_dns()
    assert served.dig("own.test", "-b", "127.0.0.2").status == "NXDOMAIN"
    lease = served.gateway.grant([], bind="127.0.0.2", dns=["own.test"])
    assert served.dig("own.test", "-b", "127.0.0.2").answers == ["A 93.184.216.36"]
    assert served.dig("own.test", "-b", "127.0.0.2", "+tcp").answers == ["A 93.184.216.36"]
    assert served.dig("own.test", "-b", "127.0.0.3").status == "NXDOMAIN"
    assert served.dig("ok.test", "-b", "127.0.0.3").answers == OK
    served.dig("other.test", "-b", "127.0.0.2")
    line = served.gateway.audited(event="dns", text="other.test")
    assert (line["session"], line["peer"]) == (lease.id, "127.0.0.2")
    served.gateway.revoke(lease)
    assert served.dig("own.test", "-b", "127.0.0.2").status == "NXDOMAIN"


def test_clients_without_session_can_be_refused(start_dns: StartDns) -> None:
    """``clients = "sessions"``; the gateway still knows that it answers."""
    served, _ = start_dns(clients="sessions")
    served.gateway.grant([], bind="127.0.0.2")
    assert served.dig("ok.test", "-b", "127.0.0.2").answers == OK
    refused = served.dig("ok.test", "-b", "127.0.0.3")
    assert (refused.status, refused.extended) == (
        "REFUSED",
        "18 (Prohibited): (credgate: no session is bound to this address)",
    )


def test_the_audit_line_of_a_refused_name(served: Served) -> None:
    """Client, type, reason, the name escaped; one line for a hundred questions."""
    for _ in range(20):
        served.dig(r"evil\027[2j\.x.test", "AAAA", "+tcp")
    line = served.gateway.audited(event="dns", reason="dns-name", operation="AAAA")
    assert (line["peer"], line["decision"]) == ("127.0.0.1", "deny")
    assert "x.test" in line["text"]
    assert "\x1b" not in json.dumps(line, ensure_ascii=False)
    lines = [one for one in served.gateway.audit() if one.get("operation") == "AAAA" and "evil" in one.get("text", "")]
    assert len(lines) == 1


def test_reload_without_a_restart(start_dns: StartDns) -> None:
    """A valid list takes effect at once; an invalid one changes nothing and is reported with file and line."""
    served, _ = start_dns()
    allowlist = served.gateway.folder / "allowlist.conf"
    assert served.dig("other.test").status == "NXDOMAIN"
    served.gateway.settings["dns"] |= {"allow": [], "allowlist_file": str(allowlist)}
    allowlist.write_text("other.test research  # the ancestor's form\n")
    served.gateway.write_configuration()
    reply = served.gateway.control("POST", "/v1/reload")
    assert (reply.status, reply.json["restart_needed"]) == (200, [])
    assert served.dig("other.test").answers == ["A 93.184.216.35"]
    assert served.dig("ok.test").status == "NXDOMAIN"
    allowlist.write_text("ok.test\n*\n")
    reply = served.gateway.control("POST", "/v1/reload")
    assert (reply.status, reply.json["error"].startswith(f"{allowlist}:2: ")) == (422, True)
    assert served.dig("other.test").answers == ["A 93.184.216.35"]
    allowlist.write_text("ok.test\n")
    assert served.gateway.process is not None
    served.gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: served.dig("ok.test").answers == OK, "SIGHUP has reloaded")
    assert served.dig("other.test").status == "NXDOMAIN"


def test_upstream_that_disappears(start_dns: StartDns) -> None:
    """A cached answer is given as stale; other names get SERVFAIL and an audit line."""
    served, resolver = start_dns(ttl=1)
    assert served.dig("ok.test").answers == OK
    resolver.stop()
    stale = wait_until(lambda: (dug := served.dig("ok.test")).extended and dug, "the answer is stale")
    assert (stale.answers, stale.extended) == (OK, "3 (Stale Answer): (credgate: no upstream resolver answered)")
    unknown = served.dig("a.wild.test")
    assert (unknown.status, unknown.extended) == (
        "SERVFAIL",
        "22 (No Reachable Authority): (credgate: no upstream resolver answered)",
    )
    served.gateway.audited(event="dns", reason="dns-upstream-failed", text="a.wild.test")
    assert served.dig("other.test").status == "NXDOMAIN"
    assert served.dig("gateway").status == "NOERROR"
    resolver.start()
    wait_until(lambda: served.dig("a.wild.test").answers == ["A 93.184.216.39"], "the upstream is asked again")


def test_a_file_cannot_be_carried_out_by_names(start_dns: StartDns) -> None:
    """Distinct names under one wildcard: the thirty-first is refused, and that is one audit line."""
    served, resolver = start_dns()
    statuses = [served.dig(f"data{number}.wild.test", "+tcp").status for number in range(36)]
    refused = statuses.count("REFUSED")
    if statuses[-1] == "REFUSED":  # else a minute began meanwhile, and a window with it
        assert refused == 6
        served.gateway.audited(event="dns", reason="dns-too-many-names")
    assert set(statuses) <= {"NXDOMAIN", "REFUSED"}
    assert served.dig("x" * 41 + ".wild.test").status == "NXDOMAIN"
    served.gateway.audited(event="dns", reason="dns-name-form")
    assert resolver.process is not None


def test_tcp_answers_what_is_pipelined(served: Served) -> None:
    """Twenty questions in one go, in pieces; dnspython matches answers to questions by id."""
    asked = [dns.message.make_query("ok.test" if number % 2 else "secret.test", "A") for number in range(20)]
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as stream:
        wire = b"".join(len(one.to_wire()).to_bytes(2) + one.to_wire() for one in asked)
        for start in range(0, len(wire), 7):
            stream.sendall(wire[start : start + 7])
        got = {}
        for _ in asked:
            reply, _ = dns.query.receive_tcp(stream)
            got[reply.id] = reply
    assert all(one.is_response(got[one.id]) for one in asked)


def test_a_connection_that_sends_nonsense_is_closed(served: Served) -> None:
    """A length of 0 or beyond any query: nothing of it is waited for."""
    for length in (b"\0\0", b"\xff\xff"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as stream:
            stream.sendall(length)
            with pytest.raises(ConnectionResetError):
                stream.recv(1)


def test_responses_are_not_answered(served: Served) -> None:
    """A response gets no reply, so that two servers cannot answer each other; a query after it is answered."""
    query = dns.message.make_query("gateway", "A")
    response = dns.message.make_query("gateway", "A")
    response.flags |= dns.flags.QR
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", served.port))
        client.send(response.to_wire())
        client.send(query.to_wire())
        assert dns.message.from_wire(client.recv(4096)).id == query.id


@pytest.mark.parametrize("octets", [0, 1, 2, 3, 11, 12, 13])
def test_truncated_query_gets_a_header_or_no_reply(served: Served, octets: int) -> None:
    """As docs/dns.md has it: without an id no reply, else FORMERR; a whole question behind it gets its answer."""
    query = dns.message.make_query("gateway", "A")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", served.port))
        client.send(b"\x12\x34\1\0\0\1\0\0\0\0\0\0\3"[:octets])
        client.send(query.to_wire())
        if octets >= 2:
            reply = client.recv(4096)
            assert (reply[:2], len(reply)) == (b"\x12\x34", 12)
            assert dns.message.from_wire(reply, question_only=True).rcode() == dns.rcode.FORMERR
        assert dns.message.from_wire(client.recv(4096)).id == query.id


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_that_is_taken_stops_the_start(start_dns: StartDns, kind: int) -> None:
    """UDP or TCP: one line of error and exit status 1."""
    served, _ = start_dns()
    served.gateway.stop()
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", served.port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        assert served.gateway.spawn().wait(30) == 1
    assert f"credgate: cannot listen on 127.0.0.1:{served.port}" in served.gateway.log()
    served.gateway.start()
    assert served.dig("ok.test").answers == OK


def test_a_bad_line_stops_the_start(start_dns: StartDns) -> None:
    """With the allowlist's file and line."""
    served, _ = start_dns()
    served.gateway.stop()
    allowlist = served.gateway.folder / "names"
    allowlist.write_text("ok.test\n\nexample..test\n")
    served.gateway.settings["dns"]["allowlist_file"] = str(allowlist)
    served.gateway.write_configuration()
    assert served.gateway.spawn().wait(30) == 1
    assert f"credgate: {allowlist}:3: " in served.gateway.log()


def test_disabled_server_listens_nowhere(start_dns: StartDns) -> None:
    """``dns = ""``: the gateway is ready without it, and the port is free."""
    served, _ = start_dns()
    served.gateway.stop()
    served.gateway.settings["listen"]["dns"] = ""
    served.gateway.start()
    assert "dns" not in served.gateway.control("GET", "/v1/ready").json["checks"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", served.port))


def test_no_packet_is_logged(start_dns: StartDns) -> None:
    """A thousand malformed, refused and unanswerable packets add no line."""
    served, _ = start_dns()
    served.dig("ok.test")
    before = served.gateway.log()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", served.port))
        for number in range(1000):
            client.send(number.to_bytes(2) + b"\1\0\0\2junk")
    assert served.dig("ok.test").answers == OK
    served.dig("a.wild.test")
    assert served.gateway.log() == before


@pytest.mark.skipif(os.geteuid() != 0, reason=f"{NOT_SHOWN}: only root has ports below 1024, and becomes another user")
def test_a_low_port_is_bound_before_privileges_are_dropped(start_dns: StartDns) -> None:
    """``twistd --uid``: both protocols answer on a port that the user could not bind, from a process of that user."""
    served, _ = start_dns()
    gateway = served.gateway
    gateway.stop()
    port = next(number for number in range(1023, 900, -1) if not answers(number))
    gateway.settings["listen"]["dns"] = f"127.0.0.1:{port}"
    for path in (gateway.folder, *gateway.folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    gateway.twistd_options = ("--uid", str(NOBODY), "--gid", str(NOBODY))
    gateway.start()
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
    low = Served(gateway, port)
    assert low.dig("ok.test").answers == low.dig("ok.test", "+tcp").answers == OK
