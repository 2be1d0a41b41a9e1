"""Pushes that git never sends: ambiguous bodies, content codings, trailing data, capabilities that were not offered.

Bodies are sent as bytes. Each is refused for a reason of ours, moves no ref at the forge and leaves no object there;
beside it stands the nearest body that is good.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
from typing import TYPE_CHECKING

import pytest

from credgate.git.pktline import FLUSH, encode
from tests.fakes import repositories
from tests.fakes.pushing import CAPS, EMPTY, ZERO, Desk, commands
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Door, Enter, Forge
    from tests.fakes.repositories import Repositories

UPDATES = [{"refs": "refs/heads/**", "allow": ["create", "update"]}]
ANY = [{"refs": "refs/**", "allow": ["create", "update", "force", "delete"]}]
REF, EVIL = "refs/heads/agent", "refs/heads/evil"


def sit(enter: Enter, door: Door, repos: Repositories, **grant: object) -> Desk:
    """Make a desk with a new commit that the forge does not have: ``desk.new``."""
    path = repos.seeded()
    visit = enter([{"repo": path, "push": UPDATES, **grant}], login="bearer")
    desk = Desk(visit.box, visit.lease, door.gateway, repos, path)
    desk.local("branch", "new", desk.commit("main"))
    return desk


@pytest.fixture
def desk(repos: Repositories, enter: Enter, door: Door) -> Desk:
    """Make a desk whose pushes are inspected."""
    return sit(enter, door, repos)


@pytest.fixture(autouse=True)
def short_turns(door: Door) -> Iterator[None]:
    """No push stops the gateway for other sandboxes."""
    door.gateway.lag.reset()
    yield
    door.gateway.lag.check()


def parts(desk: Desk) -> tuple[str, str, bytes]:
    """Return main, the new commit, and the pack between."""
    return desk.local("rev-parse", "main"), desk.local("rev-parse", "new"), desk.pack("new", "^main")


LISTS: dict[str, Callable[[bytes, bytes], bytes]] = {
    # What real receive-pack takes for a list, or another server might; ``c`` creates the ref, ``e`` the evil one.
    "ended-by-0001": lambda c, e: encode(c + b"\0" + CAPS) + b"0001",
    "ended-by-0002": lambda c, e: encode(c + b"\0" + CAPS) + b"0002",
    "a-special-0001-inside": lambda c, e: encode(c + b"\0" + CAPS) + b"0001" + encode(e) + FLUSH,
    "a-length-of-0003": lambda c, e: encode(c + b"\0" + CAPS) + b"0003" + FLUSH,
    "an-empty-packet": lambda c, e: encode(c + b"\0" + CAPS) + b"0004" + FLUSH,
    "capabilities-on-the-second-line": lambda c, e: encode(c) + encode(e + b"\0" + CAPS) + FLUSH,
    "capabilities-on-both": lambda c, e: encode(c + b"\0" + CAPS) + encode(e + b"\0 push-options") + FLUSH,
    "the-same-ref-twice": lambda c, e: encode(c + b"\0" + CAPS) + encode(c) + FLUSH,
    "a-nul-in-a-name": lambda c, e: encode(c + b"\0" + CAPS) + encode(e + b"\0x") + FLUSH,
    "a-line-feed-in-a-name": lambda c, e: encode(c + b"\n" + e + b"\0" + CAPS) + FLUSH,
    "a-carriage-return-in-a-name": lambda c, e: encode(c + b"\r\0" + CAPS) + FLUSH,
    "HEAD": lambda c, e: encode(c[:82] + b"HEAD\0" + CAPS) + FLUSH,
    "no-ref-below-refs": lambda c, e: encode(c[:82] + b"heads/x\0" + CAPS) + FLUSH,
    "dots": lambda c, e: encode(c[:82] + b"refs/heads/../evil\0" + CAPS) + FLUSH,
    "upper-case-ids": lambda c, e: encode(c[:41] + c[41:81].upper() + c[81:] + b"\0" + CAPS) + FLUSH,
    "ids-of-two-lengths": lambda c, e: encode(c[:41] + b"0" * 24 + c[41:] + b"\0" + CAPS) + FLUSH,
    "a-certificate-beside-it": lambda c, e: (
        encode(c + b"\0" + CAPS)
        + encode(b"push-cert\0\n")
        + b"".join(map(encode, [b"certificate version 0.1\n", b"\n", e + b"\n", b"push-cert-end\n"]))
        + FLUSH
    ),
    "a-certificate-before-it": lambda c, e: (
        encode(b"push-cert\0" + CAPS + b"\n")
        + b"".join(map(encode, [b"certificate version 0.1\n", b"\n", e + b"\n", b"push-cert-end\n"]))
        + FLUSH
    ),
    "no-flush": lambda c, e: encode(c + b"\0" + CAPS),
}


def test_ambiguous_command_lists_are_refused(desk: Desk, forge: Forge) -> None:
    """They are refused, however git or another server would read them, and nothing is sent to the forge."""
    _, new, pack = parts(desk)
    create, evil = (f"{ZERO} {new} {ref}".encode() for ref in (REF, EVIL))
    before = desk.refs()
    forge.plain.clear()
    for name, make in LISTS.items():
        told = desk.post(make(create, evil) + pack)
        assert "ok" not in told.refs.values(), name
        assert (told.status, told.unpack) in {(400, ""), (200, "ok")}, (name, told)
        assert told.status == 400 or all(text.startswith("credgate: ") for text in told.refs.values()), name
        assert told.status != 400 or told.body.startswith(b"credgate: "), name
        assert desk.gateway.audited(repo=desk.path, decision="deny")["reason"] == "malformed-push", name
    assert forge.plain.up == b""
    assert desk.refs() == before
    assert desk.post(commands((ZERO, new, REF)) + pack).refs == {REF: "ok"}
    assert desk.refs() == before | {REF: new}


def test_malformed_push_bodies_are_refused(desk: Desk, forge: Forge) -> None:
    """The end of another pack, an empty body, a truncated list: not one byte is forwarded."""
    _, new, pack = parts(desk)
    body = commands((ZERO, new, REF)) + pack
    before = desk.refs()
    forge.plain.clear()
    for piece in (pack, pack[7:], body[1:], body[:30], b"", b"0000x", b"0000" + pack):
        told = desk.post(piece)
        assert told.status == (200 if piece.startswith(b"0000") else 400), "a probe is no error, whatever follows it"
        assert told.body.startswith(b"" if piece.startswith(b"0000") else b"credgate: push refused: ")
        assert told.refs == {}
        assert desk.gateway.audited(repo=desk.path, decision="deny")["reason"] == "malformed-push"
    assert b"PACK" not in forge.plain.up
    assert desk.refs() == before
    assert desk.post(b"0000").status == 200
    assert desk.post(body).refs == {REF: "ok"}


def test_packs_with_wrong_end_are_refused(desk: Desk) -> None:
    """Data after the checksum, truncation, a wrong checksum, two packs: refused, and the forge stores nothing."""
    main, new, pack = parts(desk)
    head, before = commands((main, new, "refs/heads/main")), desk.refs()
    wrong = pack[:-20] + hashlib.sha1(b"else").digest()
    for bad in (
        pack + b"x",
        pack + pack,
        pack[:-1],
        pack[:-20],
        pack[: len(pack) // 2],
        wrong,
        b"",
        pack + bytes(10**6),
    ):
        told = desk.post(head + bad)
        assert (told.status, told.unpack) == (200, "ok")
        assert told.refs["refs/heads/main"].startswith("credgate: push refused: "), told
        assert desk.refs() == before
        assert not desk.has(new)
    assert desk.post(head + pack).refs == {"refs/heads/main": "ok"}
    assert desk.has(new)


def test_what_is_refused_at_its_end_leaves_no_object(desk: Desk) -> None:
    """The forge received all of the pack except its checksum, and discards it."""
    aside = desk.commit("main~1", files={"big": repositories.noise(2)})
    before = desk.refs()
    assert "not a fast-forward" in desk.push("origin", f"+{aside}:main").refused()
    assert not desk.has(aside)
    assert desk.refs() == before
    desk.push("origin", f"{aside}:{REF}").fine()
    assert desk.has(aside)


def test_content_codings_of_a_push(desk: Desk, forge: Forge) -> None:
    """JGit gzips pushes: read, judged and sent on plain. A bomb, a broken stream, another coding are refused."""
    main, new, pack = parts(desk)
    good = commands((main, new, "refs/heads/main")) + pack
    evil = commands((ZERO, new, "refs/tags/x")) + pack
    before = desk.refs()
    cases: list[tuple[str, bytes, int]] = [
        ("deflate", gzip.compress(good), 415),
        ("br", gzip.compress(good), 415),
        ("gzip, gzip", gzip.compress(gzip.compress(good)), 415),
        ("gzip", gzip.compress(gzip.compress(good)), 400),
        ("gzip", good, 400),
        ("gzip", gzip.compress(good)[:-9], 200),
        ("gzip", gzip.compress(good) + b"junk", 400),
        ("gzip", gzip.compress(good + bytes(200 * 10**6)), 200),
        ("gzip", gzip.compress(bytes(200 * 10**6)), 400),
        ("gzip", gzip.compress(evil), 200),
        ("x-gzip", gzip.compress(evil), 200),
    ]
    for coding, body, status in cases:
        told = desk.post(body, {"Content-Encoding": coding})
        assert (told.status, "ok" in told.refs.values()) == (status, False), (coding, told)
        assert desk.refs() == before, coding
    forge.plain.clear()
    for coding in ("gzip", "x-gzip"):
        assert desk.post(gzip.compress(good), {"Content-Encoding": coding}).refs == {"refs/heads/main": "ok"}
        desk.behind("update-ref", "refs/heads/main", main)
    assert b"gzip" not in forge.plain.up.lower()


def test_push_options_that_were_not_offered_are_refused(
    desk: Desk, forge: Forge, enter: Enter, door: Door, repos: Repositories
) -> None:
    """A client sends them anyway: none reaches the forge; those that are granted do."""
    granted = sit(enter, door, repos, push_options=["ci.skip", "topic=*"])
    forge.plain.clear()
    for one in (desk, granted):
        one.behind("config", "receive.advertisePushOptions", "true")
        main, new, pack = parts(one)
        head = commands((main, new, "refs/heads/main"), caps=CAPS + b" push-options")
        before = one.refs()
        for option in (b"repo.private=false", b"ci.skip2", b"ci.skip\nmerge_request.create", b"x" * 70_000):
            told = one.post(head + b"".join(map(encode, [b"ci.skip", option[:65_000]])) + FLUSH + pack)
            assert "ok" not in told.refs.values()
        assert one.refs() == before
    assert b"repo.private" not in forge.plain.up
    assert b"merge_request" not in forge.plain.up
    assert granted.post(head + encode(b"ci.skip") + encode(b"topic=x") + FLUSH + pack).refs == {"refs/heads/main": "ok"}
    assert b"000bci.skip" in forge.plain.up


SMUGGLED = (b"repo.private=false", b"merge_request.merge_when_pipeline_succeeds")


def recording(desk: Desk) -> Callable[[], str]:
    """Have the forge's hook write down the push options that it gets; return what reads them."""
    desk.behind("config", "receive.advertisePushOptions", "true")
    folder = desk.repos.folder(desk.path)
    hook, seen = folder / "hooks" / "pre-receive", folder / "options-seen"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nenv | grep ^GIT_PUSH_OPTION >>{seen}\nexit 0\n")
    hook.chmod(0o755)
    return lambda: seen.read_text() if seen.exists() else ""


@pytest.mark.parametrize("allow", ["create", "force"])
@pytest.mark.parametrize("caps", [b" push-options=1", b" quiet push-options= atomic", b""])
def test_smuggled_push_options_never_reach_the_forge(
    enter: Enter, door: Door, repos: Repositories, forge: Forge, caps: bytes, allow: str
) -> None:
    """By a capability that git takes for push-options, or in the pack's place: refused, inspected or not.

    A push of the same shape lands, and so do the options where they are granted.
    """
    rules = [{"refs": "refs/heads/**", "allow": [allow] if allow == "create" else ["create", "update", "force"]}]
    desk = sit(enter, door, repos, push=rules)
    options = recording(desk)
    main, new, pack = parts(desk)
    before = desk.refs()
    move = (ZERO, new, REF) if allow == "create" else (main, new, "refs/heads/main")
    smuggled = b"".join(map(encode, SMUGGLED)) + FLUSH
    forge.plain.clear()
    told = desk.post(commands(move, caps=CAPS + caps) + smuggled + pack)
    assert "ok" not in told.refs.values()
    expected = "a value for a capability that takes none" if caps else "the pack does not begin with PACK"
    assert expected in told.body.decode(errors="replace")
    assert desk.gateway.audited(repo=desk.path, decision="deny")["reason"] == "malformed-push"
    assert b"repo.private" not in forge.plain.up
    assert (desk.refs(), options()) == (before, "")
    assert desk.post(commands(move) + pack).refs == {move[2]: "ok"}
    granted = sit(enter, door, repos, push=rules, push_options=["*"])
    options = recording(granted)
    main, new, pack = parts(granted)
    head = commands((ZERO, new, REF), caps=CAPS + b" push-options")
    assert granted.post(head + smuggled + pack).refs == {REF: "ok"}
    assert "GIT_PUSH_OPTION_COUNT=2\n" in options()
    assert "repo.private=false" in options()


@pytest.mark.parametrize("word", ["atomic", "report-status", "side-band-64k"])
def test_flag_with_value_does_not_hide_from_the_audit(desk: Desk, word: str) -> None:
    """Git takes it as given; the push is refused, and the same flag alone lands."""
    _, new, pack = parts(desk)
    before = desk.refs()
    others = [one for one in ("report-status", "side-band-64k", "atomic") if one != word]
    for given, good in ((f"{word}=1", False), (word, True)):
        caps = " ".join(["", *others, given]).encode()
        told = desk.post(commands((ZERO, new, REF), caps=caps) + pack)
        assert ("a value for a capability that takes none" in told.body.decode(errors="replace")) is not good
        assert desk.refs() == (before | {REF: new} if good else before)


def test_data_after_a_deletion_refuses_it(enter: Enter, door: Door, repos: Repositories, forge: Forge) -> None:
    """The forge acts on a list without a pack at once, so the list is sent only after the body has ended."""
    desk = sit(enter, door, repos, push=ANY)
    _, _, pack = parts(desk)
    desk.give({REF: "main"})
    before = desk.refs()
    gone = commands((before[REF], ZERO, REF))
    forge.plain.clear()
    for tail in (pack, b"0000", encode(b"repo.private=false") + FLUSH + pack):
        told = desk.post(gone + tail)
        assert told.refs == {REF: "credgate: push refused: data after a list that only deletes refs"}
        assert desk.gateway.audited(repo=desk.path, decision="deny")["reason"] == "malformed-push"
    assert (desk.refs(), forge.plain.up) == (before, b"")
    assert desk.post(gone).refs == {REF: "ok"}
    assert REF not in desk.refs()


def test_offers_that_bypass_the_gateway_are_removed(desk: Desk, door: Door, forge: Forge) -> None:
    """The forge offers it; the sandbox does not see it, and is refused if it uses it anyway."""
    desk.behind("config", "uploadpack.blobPackfileUri", f"{'1' * 40} {'2' * 40} https://elsewhere.example/pack")
    desk.behind("config", "receive.certNonceSeed", "seed")
    desk.behind("config", "receive.advertisePushOptions", "true")
    forge.plain.clear()
    door.front.clear()
    desk.box.git("-c", "protocol.version=2", "ls-remote", "origin", cwd="work").fine()
    desk.push("--dry-run", "origin", "new:main").fine()
    said = desk.push("--signed=yes", "origin", "new:main").refused()
    assert "the receiving end does not support --signed push" in said
    for word in (b"packfile-uris", b"push-cert=", b"push-options"):
        assert word in forge.plain.down
        assert word not in door.front.down
    for word in (b"report-status", b"delete-refs", b"side-band-64k", b"no-thin", b"ofs-delta", b"ls-refs"):
        assert word in door.front.down
    assert b"no-thin" not in forge.plain.down
    want = encode(b"want " + desk.local("rev-parse", "main").encode())
    for argument, refused in ((b"packfile-uris https", True), (b"no-progress", False)):
        body = b"".join([encode(b"command=fetch"), b"0001", encode(argument), want, encode(b"done"), FLUSH])
        answer = fetch(desk, body)
        assert (b"ERR credgate" in answer) == refused
        assert (b"PACK" in answer) != refused
    assert b"ERR credgate" in fetch(desk, encode(b"command=bundle-uri") + FLUSH)


def fetch(desk: Desk, body: bytes) -> bytes:
    """Send a fetch of version 2; its answer's body."""
    connection = http.client.HTTPConnection("127.0.0.1", desk.gateway.port, timeout=20)
    head = {
        "Authorization": f"Bearer {desk.lease.line}",
        "Content-Type": "application/x-git-upload-pack-request",
        "Git-Protocol": "version=2",
    }
    connection.request("POST", f"/git/{desk.path}.git/git-upload-pack", body, head)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def test_a_forge_that_cannot_send_history_alone(desk: Desk, enter: Enter, door: Door, repos: Repositories) -> None:
    """Without ``filter`` a push passes only if the pack itself proves it; other pushes are refused with advice."""
    pathed = sit(enter, door, repos, protected_paths=["Makefile"])
    for one in (desk, pathed):
        one.behind("config", "uploadpack.allowFilter", "false")
    tip = desk.commit("new")
    desk.give({REF: "main~1"})
    before = desk.refs()
    said = desk.push("origin", f"+{tip}:{REF}").refused()
    assert "could not tell whether this is a fast-forward (this forge cannot send history without files)" in said
    assert "fetch and rebase, or push to a new branch" in said
    assert desk.refs() == before
    desk.push("origin", f"{tip}:main", f"{tip}:refs/heads/other").fine()
    assert desk.refs() == before | {"refs/heads/main": tip, "refs/heads/other": tip}
    before = pathed.refs()
    said = pathed.push("origin", "new:main").refused()
    assert "could not tell whether this changes a protected path: this forge cannot send history without files" in said
    assert "its operator can (uploadpack.allowFilter), or lift protected_paths" in said
    assert pathed.refs() == before
    pathed.behind("config", "uploadpack.allowFilter", "true")
    pathed.push("origin", "new:main").fine()


def test_push_with_too_many_refs_is_refused(desk: Desk) -> None:
    """The list is read up to the limit and refused by name; the rest of the body is read and dropped."""
    new = desk.local("rev-parse", "new")
    many = [(ZERO, new, f"{REF}/{number:05d}") for number in range(20_001)]
    before = desk.refs()
    told = desk.post(commands(*many) + EMPTY)
    text = "credgate: more than the 2000 refs that are allowed in one push: push fewer at a time"
    assert told.refs == {ref: text for _, _, ref in many[:2000]}
    assert desk.refs() == before
    assert set(desk.post(commands(*many[:2000]) + desk.pack("new", "^main")).refs.values()) == {"ok"}
    desk.box.git("ls-remote", address(desk.path)).fine()
