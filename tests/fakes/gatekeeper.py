"""A gateway in one process without a network: real git on both sides, credgate's cores between them.

``python gatekeeper.py receive-pack|upload-pack REPOSITORY`` replaces git's own program (``--receive-pack``,
``--upload-pack``). ``GATEKEEPER`` in the environment contains a grant as for the control API and the operator's policy,
both as JSON. Ancestry and paths are not inspected: ``GATEKEEPER_FOUND`` decides pushes, by default ``true`` (all
fast-forward).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import IO

from credgate.config import schema
from credgate.config.structure import structure
from credgate.forges.registry import driver_for
from credgate.git import refusal
from credgate.git.advertisement import AdvertisementRewriter
from credgate.git.fetch import FetchReader
from credgate.git.pktline import FLUSH
from credgate.git.push_list import OptionsReader, PushReader, encode_commands, encode_options
from credgate.git.push_rules import PushRules, judge_options, rules_for
from credgate.git.push_verdict import Findings, PushVerdict, judge, refuse_all, settle
from credgate.git.report import ReportReader
from credgate.git.response_filter import Splicer
from credgate.sessions.grants import parse_repos

PIECE = 4096


def rules() -> PushRules:
    """Read the rules of this run."""
    given = json.loads(os.environ["GATEKEEPER"])
    config = structure({"policy": given.get("policy", {})})
    assert isinstance(config, schema.Config), config
    drivers = {forge.name: driver_for(forge) for forge in schema.Config().forges.values()}
    (grant,) = parse_repos([{"repo": "octo/hello", **given.get("grant", {})}], drivers, "github.com")
    return rules_for(grant, config.policy, "s-0123456789abcdef", "box")


class Wire:
    """The client's side of standard input, with what was read too far."""

    def __init__(self) -> None:
        self.rest = b""

    def read(self) -> bytes:
        """Return the next bytes; none at the end."""
        piece, self.rest = self.rest or os.read(0, PIECE), b""
        return piece

    def until(self, reader: PushReader | OptionsReader) -> None:
        """Feed ``reader`` until it is done."""
        while not reader.done:
            piece = self.read()
            if not piece:
                sys.exit()  # the client left, as it does when it misses a capability
            self.rest = piece[reader.receive(piece) :]


def say(*parts: bytes) -> None:
    """Send to the client, at once."""
    for part in parts:
        os.write(1, part)


def advertise(child: subprocess.Popen[bytes], rewriter: AdvertisementRewriter) -> None:
    while not rewriter.done:
        say(*rewriter.receive(os.read(pipe(child.stdout).fileno(), PIECE)))
    rewriter.end()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """Say that a stream is there."""
    assert stream is not None
    return stream


def judged(commands: PushReader, options: OptionsReader, rules: PushRules) -> PushVerdict:
    """Judge all that can be judged before the pack."""
    allowed = judge_options(rules, options.options)
    if not allowed.allow:
        return refuse_all(commands.commands, allowed)
    verdict = judge(commands.commands, rules, atomic=b"atomic" in commands.capabilities)
    forward = json.loads(os.environ.get("GATEKEEPER_FOUND", "true"))
    found = Findings(fast_forward={one.ref: forward for one in verdict.needs_ancestry})
    return settle(verdict, found, rules)


def receive_pack(repository: str) -> None:
    """Stand between a push and the repository."""
    limits = rules()
    with subprocess.Popen(["git", "receive-pack", repository], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        rewriter = AdvertisementRewriter("git-receive-pack", push_options=limits.options, no_thin=limits.inspects)
        advertise(child, rewriter)
        wire, commands, options = Wire(), PushReader(), OptionsReader()
        wire.until(commands)
        if commands.options:
            wire.until(options)
        verdict = judged(commands, options, limits)
        if not verdict.forwarded:
            pipe(child.stdin).write(FLUSH)
            refuse(wire, commands, verdict, limits)
            return
        forward(child, wire, commands, options, verdict)
        relay(child, commands, verdict)


def refuse(wire: Wire, commands: PushReader, verdict: PushVerdict, limits: PushRules) -> None:
    """Read the pack to its end, then say no for every ref."""
    while commands.pack and wire.read():
        pass
    if commands.commands:
        say(refusal.status_report(verdict.refused, sideband=commands.sideband, lines=verdict.lines(limits)))


def forward(
    child: subprocess.Popen[bytes], wire: Wire, commands: PushReader, options: OptionsReader, verdict: PushVerdict
) -> None:
    """Send on what was allowed: the list written again, and the pack if it has one."""
    out = pipe(child.stdin)
    out.write(encode_commands(verdict.forwarded, commands.capabilities, commands.shallows))
    if commands.options:
        out.write(encode_options(options.options))
    while commands.pack and (piece := wire.read()):
        if verdict.pack:
            out.write(piece)
    out.close()


def relay(child: subprocess.Popen[bytes], commands: PushReader, verdict: PushVerdict) -> None:
    """Send the report back, with the refused refs in it."""
    splicer = Splicer(verdict.refused, sideband=commands.sideband) if verdict.refused else None
    report = ReportReader([one.ref for one in verdict.forwarded], sideband=commands.sideband)
    while piece := os.read(pipe(child.stdout).fileno(), PIECE):
        report.receive(piece)
        say(*(splicer.receive(piece) if splicer else [piece]))
    if splicer:
        splicer.end()
    assert report.done
    assert set(report.results) == {one.ref for one in verdict.forwarded}


def upload_pack(repository: str) -> None:
    """Stand between a fetch and the repository; a v2 request is read to its first command."""
    v2 = "version=2" in os.environ.get("GIT_PROTOCOL", "")
    with subprocess.Popen(["git", "upload-pack", repository], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        advertise(child, AdvertisementRewriter("git-upload-pack"))
        asking = threading.Thread(target=ask, args=(pipe(child.stdin), v2), daemon=True)
        asking.start()
        while piece := os.read(pipe(child.stdout).fileno(), PIECE):
            say(piece)


def ask(out: IO[bytes], v2: bool) -> None:  # noqa: FBT001 - a thread's argument
    """Pass the client's requests on; whatever it is refused ends it all."""
    reader = FetchReader(v2=v2)
    while piece := os.read(0, PIECE):
        refused = None if reader.decided else reader.receive(piece)
        if refused is not None:
            say(refusal.err(refused.text))
            break
        out.write(piece)
        out.flush()
    out.close()


if __name__ == "__main__":
    {"receive-pack": receive_pack, "upload-pack": upload_pack}[sys.argv[1]](sys.argv[2])
