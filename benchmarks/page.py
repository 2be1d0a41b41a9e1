"""The page of the documentation: the tables of a run, and what they mean."""

from __future__ import annotations

from attrs import define, field

from benchmarks import dns, lfs, sessions, walk
from benchmarks.table import Row, markdown

PAGE_HEAD = """\
# Benchmarks

Written by `tox run -e bench` (`python -m benchmarks --write`); do not edit.

"""
PAGE_FOOT = """
Figures are medians of interleaved rounds; a ratio is the median of the rounds' ratios, so that it means something on a
busy machine too. For MB/s and 1/s more is better, for ms and s less. Processor time is what the proxy's own process
takes for a gigabyte or for a thousand requests: the figure that depends least on who else is at work. All targets are
one process, stream bodies both ways and check the TLS certificate of the upstream. `nginx` has its own buffer sizes
(proxy_buffering and proxy_request_buffering off), `nginx 64k` credgate's. credgate also authenticates the session,
checks scope, reads every head twice, rebuilds it, puts the credential in and writes an audit line for each request;
the others pass on what they get. `direct` is the client and the upstream without anything between. The upstream of the
bulk rows is benchmarks/origin.py, of the small requests nginx answering from memory, of the git rows nginx, fcgiwrap
and `git http-backend`. Clients, upstream and proxy share the machine's cores.
"""

WALK_HEAD = """
## Pushes that are walked

Real git pushes one commit on top of what the forge has (nginx, fcgiwrap, `git http-backend`); the files do not
compress. With a grant that allows `force` credgate passes the pack on unread; without, it finds every commit in it,
walks its history and holds the last bytes back. `git index-pack` reads the same pack from a file: the forge does that,
too, in every push. The processor time is the gateway's, its threads included. The neighbour is another session that
asks the same forge for an advertisement, one request after the other, while a push runs; its time includes the forge's.

"""
LFS_HEAD = """
## LFS

Real git-lfs moves one object to and from nginx with giftless behind it. git-lfs hashes what it moves and the server
writes it to the disk, with and without the gateway. The processor time is the gateway's.

"""
DNS_HEAD = """
## DNS

dnsperf, 4 clients, 100 questions on the way, over loopback; one process each. The same upstream answers both for the
allowed name. credgate says in each refusal that it is policy.

"""
SESSIONS_HEAD = """
## Sessions

The real gateway beside so many stored sessions, each with a grant and an address of its own. A host script creates
sessions one after the other, each written to the disk before it is answered, while a neighbour asks for `/whoami`. The
start is that of the whole process, until `/v1/ready` says yes. Memory of 100 sessions is too little to be seen.

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
        """Return head and table of what was measured beside relaying."""
        tables = [
            (WALK_HEAD, walk.markdown, self.walked),
            (LFS_HEAD, lfs.markdown, self.stored),
            (DNS_HEAD, dns.markdown, self.asked),
            (SESSIONS_HEAD, sessions.markdown, self.many),
        ]
        return [(head, table(rows)) for head, table, rows in tables if rows]

    def markdown(self) -> str:
        """Return the tables, without words."""
        relayed = [markdown(self.relayed)] if self.relayed else []
        return "\n".join(relayed + [table for _, table in self._others()])

    def page(self, where: str, what: str) -> str:
        """Return the page."""
        page = PAGE_HEAD + f"{where}; {what}.\n\n{markdown(self.relayed)}" + PAGE_FOOT
        return page + "".join(head + table for head, table in self._others())
