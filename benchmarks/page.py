"""Writes docs/benchmarks.md: the tables of a run, each with its explanation."""

from __future__ import annotations

from attrs import define, field

from benchmarks import dns, lfs, sessions, walk
from benchmarks.table import Row, markdown

PAGE_HEAD = """\
# Benchmarks

Written by `tox run -e bench` (`python -m benchmarks --write`); do not edit.

"""
PAGE_FOOT = """
Figures are medians of interleaved rounds. A ratio is the median of the ratios of the rounds, so that it is also valid
on a busy machine. For MB/s and 1/s more is better, for ms and s less. Processor time is the time of the proxy's own
process for a gigabyte or for a thousand requests; it depends least on other work on the machine. All targets are one
process, stream bodies in both directions and verify the TLS certificate of the upstream. `nginx` has its own buffer
sizes (proxy_buffering and proxy_request_buffering off), `nginx 64k` those of credgate. credgate also authenticates
the session, checks the scope, parses every head twice, builds it anew, adds the credential and writes an audit line
for each request; the others forward what they receive. `direct` is the client and the upstream without a proxy. The
upstream of the bulk rows is benchmarks/origin.py, of the small requests nginx answering from memory, of the git rows
nginx, fcgiwrap and `git http-backend`. Clients, upstream and proxy share the machine's cores.
"""

WALK_HEAD = """
## Pushes that are inspected

Real git pushes one commit on top of the forge's history (nginx, fcgiwrap, `git http-backend`); the files do not
compress. With a grant that allows `force`, credgate forwards the pack without reading it. Otherwise it finds every
commit in the pack, walks the history and holds the last bytes back. `git index-pack` reads the same pack from a file;
the forge does the same in every push. The processor time is the gateway's, including its threads. The neighbour is
another session that requests an advertisement of the same forge, again and again, while a push runs; its time
includes the forge's.

"""
LFS_HEAD = """
## LFS

Real git-lfs transfers one object to and from giftless behind nginx. git-lfs hashes the object and the server writes it
to the disk, with and without the gateway. The processor time is the gateway's.

"""
DNS_HEAD = """
## DNS

dnsperf, 4 clients, 100 outstanding queries, over loopback; one process each. The same upstream answers both servers
for the allowed name. Each refusal of credgate has an extended error with its reason.

"""
SESSIONS_HEAD = """
## Sessions

The real gateway with this number of stored sessions, each with a grant and an address of its own. A host script
creates sessions one after the other, each written to the disk before the answer, while a neighbour requests
`/whoami`. The start is that of the whole process, until `/v1/ready` succeeds. The memory of 100 sessions is too small
to measure.

"""


@define
class Found:
    """The rows of a run, a table each."""

    relayed: list[Row]
    walked: list[Row] = field(factory=list)
    stored: list[Row] = field(factory=list)
    asked: list[Row] = field(factory=list)
    many: list[Row] = field(factory=list)

    @property
    def all(self) -> list[Row]:
        """All rows."""
        return self.relayed + self.walked + self.stored + self.asked + self.many

    def _others(self) -> list[tuple[str, str]]:
        """Return (heading, table) of everything but relaying."""
        tables = [
            (WALK_HEAD, walk.markdown, self.walked),
            (LFS_HEAD, lfs.markdown, self.stored),
            (DNS_HEAD, dns.markdown, self.asked),
            (SESSIONS_HEAD, sessions.markdown, self.many),
        ]
        return [(head, table(rows)) for head, table, rows in tables if rows]

    def markdown(self) -> str:
        """Return the tables without text."""
        relayed = [markdown(self.relayed)] if self.relayed else []
        return "\n".join(relayed + [table for _, table in self._others()])

    def page(self, where: str, what: str) -> str:
        """Return the page."""
        page = PAGE_HEAD + f"{where}; {what}.\n\n{markdown(self.relayed)}" + PAGE_FOOT
        return page + "".join(head + table for head, table in self._others())
