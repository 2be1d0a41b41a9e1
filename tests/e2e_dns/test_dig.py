"""dig, with all its options, with each real resolver as upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes import resolvers

if TYPE_CHECKING:
    from tests.e2e_dns.conftest import Served

NOT_LISTED = "15 (Blocked): (credgate: the name is not in the allowlist; GET /whoami lists the allowed names)"


@pytest.mark.parametrize(
    "how",
    [
        [], ["+tcp"], ["+noedns"], ["+bufsize=512"], ["+bufsize=4096"], ["+subnet=10.0.0.0/24"], ["+nocookie"],
        ["+cookie=0011223344556677"], ["+norecurse"], ["+dnssec"], ["+ednsopt=12:0000"], ["+cd"], ["+noadflag"],
        ["+tcp", "+noedns"], ["+padding=128"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_allowed_name_is_answered(served: Served, how: list[str]) -> None:
    """Over each transport, with any options; a name that is not allowed is refused in the same way."""
    dug = served.dig("ok.test", *how)
    assert (dug.status, dug.answers) == ("NOERROR", ["A 93.184.216.34"])
    assert {"qr", "ra"} <= dug.flags
    refused = served.dig("secret.test", *how)
    assert (refused.status, refused.answers) == ("NXDOMAIN", [])
    assert "policy.credgate.invalid" in refused.text, "an SOA lets the refusal be cached"
    assert refused.extended == ("" if "+noedns" in how else NOT_LISTED)


def test_case_is_echoed_and_does_not_matter(served: Served) -> None:
    """A client that randomises it, as ours does upstream, must see its own."""
    dug = served.dig("oK.TesT")
    assert dug.answers == ["A 93.184.216.34"]
    assert "oK.TesT." in dug.text


def test_ipv6_addresses(served: Served) -> None:
    """AAAA is a default type."""
    assert served.dig("ok.test", "AAAA").answers == ["AAAA 2606:2800:220:1::1"]


def test_an_alias_is_followed_and_hidden(served: Served) -> None:
    """The asked name and its addresses only."""
    dug = served.dig("chain.test")
    assert dug.answers == ["A 93.184.216.37"]
    assert "target" not in dug.text


@pytest.mark.parametrize("qtype", ["A", "AAAA"])
def test_private_answer_is_removed(served: Served, qtype: str) -> None:
    """Rebinding: NODATA, and why."""
    dug = served.dig("priv.test", qtype)
    assert (dug.status, dug.answers) == ("NOERROR", [])
    text = "the answer has only addresses in a special range (private)"
    assert dug.extended.startswith(f"15 (Blocked): (credgate: {text}")


def test_public_addresses_of_a_mixed_answer_remain(served: Served) -> None:
    """The metadata address is not."""
    assert served.dig("mixed.test").answers == ["A 93.184.216.38"]


def test_any_and_transfers_are_refused(served: Served) -> None:
    """REFUSED, with the reason, over both transports."""
    for how in (
        ["ANY"],
        ["ANY", "+notcp"],
        ["-t", "NULL"],
        ["-t", "TYPE65280"],
        ["-c", "CH", "-t", "TXT"],
        ["-t", "AXFR"],
    ):
        dug = served.dig("ok.test", *how)
        assert (dug.status or "REFUSED") == "REFUSED"
        assert dug.answers == []
    assert served.dig("ok.test", "ANY").extended == "15 (Blocked): (credgate: queries of type ANY are not supported)"
    assert "Transfer failed" in served.dig("ok.test", "AXFR").text


def test_types_are_off_unless_granted(served: Served) -> None:
    """TXT of one name, of no other."""
    assert served.dig("text.test", "TXT").answers == ['TXT "some words"']
    off = served.dig("ok.test", "TXT")
    assert (off.status, off.answers) == ("NOERROR", [])
    assert off.extended == "15 (Blocked): (credgate: queries of type TXT are not allowed for this name)"


def test_static_names_in_both_directions(served: Served) -> None:
    """``dig -x`` of the gateway's own; of anything else nothing."""
    assert served.dig("gateway").answers == ["A 127.0.0.1"]
    assert served.dig("git.gateway", "AAAA").answers == ["AAAA fd00::3"]
    assert served.dig("-x", "10.1.2.3").answers == ["PTR git.gateway."]
    assert served.dig("-x", "fd00::3").answers == ["PTR git.gateway."]
    assert served.dig("-x", "10.1.2.4").status == "NXDOMAIN"
    assert served.dig("-x", "93.184.216.34").status == "NXDOMAIN"


def test_allowed_name_that_does_not_exist(served: Served) -> None:
    """The upstream's own NXDOMAIN: no word of policy."""
    dug = served.dig("nothing.test")
    assert (dug.status, dug.extended) == ("NXDOMAIN", "")


def test_a_large_answer_is_truncated_and_found_over_tcp(served: Served) -> None:
    """At a record boundary, with TC; dig then comes back over TCP by itself."""
    cut = served.dig("big.test", "+ignore", "+noedns")
    assert "tc" in cut.flags
    assert 0 < len(cut.answers) < 60
    assert "malformed" not in cut.text
    whole = served.dig("big.test", "+noedns")
    assert whole.answers == sorted(f"A {address}" for address in resolvers.ADDRESSES["big.test"])
    assert "(TCP)" in whole.text
    assert len(served.dig("big.test", "+bufsize=1232").answers) == 60


def test_versions_of_edns(served: Served) -> None:
    """BADVERS for one we do not speak, without negotiating."""
    dug = served.dig("ok.test", "+edns=1", "+noednsneg")
    assert (dug.status, dug.answers) == ("BADVERS", [])


def test_other_opcodes(served: Served) -> None:
    """NOTIMP that dig takes for its answer: QR is set."""
    for opcode in ("STATUS", "NOTIFY", "UPDATE", "5"):
        dug = served.dig("ok.test", f"+opcode={opcode}")
        assert dug.status == "NOTIMP"
        assert "qr" in dug.flags


def test_header_only_and_multi_question(served: Served) -> None:
    """FORMERR, at once."""
    assert served.dig("+header-only").status == "FORMERR"


@pytest.mark.parametrize(
    "name",
    [
        r"ok\.test",
        r"ok.test\000",
        r"\000ok.test",
        r"ok\010.test",
        "ok.test.evil",
        "xok.test",
        "test",
        ".",
        r"a\.wild.test",
    ],
)
def test_unusual_names_are_refused(served: Served, name: str) -> None:
    """Dots, NULs and newlines inside labels are other names."""
    dug = served.dig(name)
    assert (dug.status, dug.answers) == ("NXDOMAIN", [])
    assert served.dig("ok.test").status == "NOERROR"


def test_readiness_includes_dns(served: Served) -> None:
    """``GET /v1/ready`` has asked."""
    assert served.gateway.control("GET", "/v1/ready").json["checks"]["dns"] is True
