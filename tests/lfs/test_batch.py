"""The batch: both bodies read strictly and written anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.lfs import batch as module
from credgate.lfs.batch import (
    MAX_OBJECTS,
    Batch,
    HeldLink,
    answer,
    answer_objects,
    forge_request,
    read_answer,
    read_batch,
    too_large,
)
from credgate.lfs.refusals import LfsError
from credgate.lfs.target import Call
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from credgate.lfs.actions import Offer

HUB = driver_for(ForgeConfig("github.com", "github", "https://github.com"))
A, B, C = "a" * 64, "b" * 64, "c" * 64
STORED = "https://github-cloud.s3.amazonaws.com/x?sig=secret"
OWN = "https://github.com/octo/hello.git/info/lfs/verify"


def body(**members: object) -> bytes:
    """Write a batch as git-lfs 3.3 does, but for ``members``."""
    whole = {
        "operation": "download",
        "transfers": ["basic", "lfs-standalone-file", "ssh"],
        "ref": {"name": "refs/heads/main"},
        "objects": [{"oid": A, "size": 1}, {"oid": B, "size": 2}],
        "hash_algo": "sha256",
    }
    return json.dumps({key: value for key, value in (whole | members).items() if value is not ...}).encode()


def refusal(**members: object) -> LfsError:
    """Read it in vain."""
    with pytest.raises(LfsError) as caught:
        read_batch(body(**members))
    return caught.value


def test_batch_is_read() -> None:
    """And what access that needs: the one thing of LFS that a target does not say."""
    read = read_batch(body())
    assert read == Batch("download", {A: 1, B: 2}, "refs/heads/main")
    assert read.needed is Access.READ
    written = read_batch(body(operation="upload", transfers=..., ref=..., hash_algo=...))
    assert (written.needed, written.ref) == (Access.WRITE, "")
    assert read_batch(body(ref=None, transfers=None, hash_algo="")).objects == {A: 1, B: 2}
    assert read_batch(body(objects=[{"oid": A, "size": 1}] * 3)).objects == {A: 1}


@pytest.mark.parametrize(
    "members",
    [
        {"operation": ...}, {"operation": "Upload"}, {"operation": "delete"}, {"operation": ["upload"]},
        {"objects": ...}, {"objects": []}, {"objects": {}}, {"objects": [A]}, {"objects": [{}]},
        {"objects": [{"oid": A.upper(), "size": 1}]}, {"objects": [{"oid": A[1:], "size": 1}]},
        {"objects": [{"oid": "../" + A, "size": 1}]}, {"objects": [{"oid": A, "size": -1}]},
        {"objects": [{"oid": A, "size": "1"}]}, {"objects": [{"oid": A}]},
        {"objects": [{"oid": A, "size": 1}, {"oid": A, "size": 2}]},
        {"objects": [{"oid": f"{number:064x}", "size": 1} for number in range(MAX_OBJECTS + 1)]},
        {"ref": "main"}, {"ref": {"name": 5}}, {"ref": {"name": "a\nb"}}, {"transfers": "basic"},
        {"transfers": [1]}, {"transfers": ["basic"] * 33}, {"hash_algo": 5}, {"hash_algo": "sha 256"},
    ],
)  # fmt: skip
def test_malformed_batch_is_refused(members: dict[str, object]) -> None:
    """As a whole."""
    error = refusal(**members)
    assert (error.reason, error.status) == (Reason.LFS_MALFORMED, 422)
    assert "malformed LFS batch request" in str(error)
    assert A not in str(error)


def test_other_hash_algorithm_and_transfer_have_their_own_refusals() -> None:
    """git-lfs shows the sentence; 409 is the API's own status for the first."""
    error = refusal(hash_algo="sha512")
    assert (error.reason, error.status) == (Reason.LFS_MALFORMED, 409)
    error = refusal(transfers=["tus"])
    assert (error.reason, error.status) == (Reason.LFS_TRANSFER, 422)


def test_forge_is_offered_only_basic_transfers() -> None:
    """``ssh`` and ``tus`` would lead around the gateway; what was refused is not asked for."""
    batch = read_batch(body(operation="upload"))
    asked = forge_request(batch, {B: HeldLink()})
    assert asked is not None
    assert json.loads(asked) == {
        "operation": "upload",
        "transfers": ["basic"],
        "ref": {"name": "refs/heads/main"},
        "objects": [{"oid": A, "size": 1}],
        "hash_algo": "sha256",
    }
    assert b"ref" not in (forge_request(Batch("download", {A: 1}), {}) or b"")
    assert forge_request(batch, {A: HeldLink(), B: HeldLink()}) is None


def test_objects_over_the_limit_are_refused_one_by_one() -> None:
    """One byte decides; None is no limit."""
    batch = Batch("upload", {A: 5, B: 6})
    assert list(too_large(batch, 5)) == [B]
    assert too_large(batch, None) == {}
    held = too_large(batch, 5)[B]
    assert held.error is not None
    assert (held.error["code"], "over 5 bytes" in str(held.error["message"])) == (422, True)
    decision = module.too_large_decision(1)
    assert (decision.allow, decision.reason) == (False, Reason.LFS_OBJECT_TOO_LARGE)


# The forge's answer.

GIVEN: list[tuple[Call, str, int, Offer, bool]] = []


def give(call: Call, oid: str, size: int, offer: Offer, login: bool) -> tuple[str, str]:  # noqa: FBT001 - batch.Give
    """Hand out numbered links, each with its own."""
    GIVEN.append((call, oid, size, offer, login))
    return f"http://gw/_x/{len(GIVEN)}", f"own-{len(GIVEN)}"


def heard(batch: Batch, *objects: object, **members: object) -> list[dict[str, Any]]:
    """Read a forge's answer and return the client's objects."""
    GIVEN.clear()
    held = dict(read_answer(json.dumps({"objects": objects} | members).encode(), batch, HUB))
    written = answer(answer_objects(batch, held, give))
    assert b"secret" not in written
    assert b"amazonaws" not in written
    whole = json.loads(written)
    assert (whole["transfer"], whole["hash_algo"]) == ("basic", "sha256")
    listed: list[dict[str, Any]] = whole["objects"]
    return listed


def stored(oid: str, size: int, *names: str, href: str = STORED, **more: object) -> dict[str, object]:
    """Write an object with actions of these names."""
    action = {"href": href, "header": {"X-Amz-Date": "secret"}, "expires_in": 60}
    return {"oid": oid, "size": size, "actions": dict.fromkeys(names, action)} | more


DOWN, UP = Batch("download", {A: 1, B: 2}), Batch("upload", {A: 1, B: 2})


def linked(oid: str, size: int, number: int) -> dict[str, object]:
    """Write an object as the client sees it: nothing but what the link itself carries is needed to use it."""
    own = {"X-Credgate-Handle": f"own-{number}"}
    link = {"href": f"http://gw/_x/{number}", "header": own, "expires_in": 60}
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"download": link}}


def test_every_link_becomes_a_handle() -> None:
    """Objects in the order in which the client asked, whatever the forge's."""
    assert heard(DOWN, stored(B, 2, "download"), stored(A, 1, "download"), transfer="basic") == [
        linked(A, 1, 1),
        linked(B, 2, 2),
    ]
    assert [(call, oid, size, login) for call, oid, size, _, login in GIVEN] == [
        (Call.DOWNLOAD, A, 1, False),
        (Call.DOWNLOAD, B, 2, False),
    ]


def test_upload_may_have_a_verification_or_no_action() -> None:
    """No action means that nothing is to be done."""
    first, second = heard(UP, stored(A, 1, "upload", "verify"), {"oid": B, "size": 2})
    assert list(first["actions"]) == ["upload", "verify"]
    assert second == {"oid": B, "size": 2}


def test_actions_of_the_other_operation_are_dropped() -> None:
    """A download must not come with a link to write."""
    (only,) = heard(Batch("download", {A: 1}), stored(A, 1, "download", "upload", "verify"))
    assert list(only["actions"]) == ["download"]
    (none,) = heard(Batch("download", {A: 1}), stored(A, 1, "upload"))
    assert (none["error"]["code"], "no download of this object" in none["error"]["message"]) == (404, True)


@pytest.mark.parametrize(
    ("members", "login"),
    [
        ({"href": OWN, "actions_header": False}, True),
        ({"href": OWN, "actions_header": False, "authenticated": True}, False),
        ({"href": STORED, "actions_header": False}, False),
        ({"href": OWN, "actions_header": True}, False),
    ],
)
def test_forges_credential_is_sent_where_the_forge_expects_it(members: dict[str, Any], *, login: bool) -> None:
    """Not a storage, not beside a login of the action's own, and not if the forge says that none is needed."""
    action: dict[str, object] = {"href": members["href"]}
    if members["actions_header"]:
        action["header"] = {"Authorization": "RemoteAuth secret"}
    more = {"authenticated": members["authenticated"]} if "authenticated" in members else {}
    heard(Batch("download", {A: 1}), {"oid": A, "size": 1, "actions": {"download": action}, **more})
    assert [one[4] for one in GIVEN] == [login]


def test_older_name_of_actions_is_supported() -> None:
    """Servers from before 2016 call them ``_links``."""
    (only,) = heard(Batch("download", {A: 1}), {"oid": A, "size": 1, "_links": {"download": {"href": STORED}}})
    assert list(only["actions"]) == ["download"]


def test_unrequested_object_is_dropped_and_missing_object_is_an_error() -> None:
    """A forge cannot make the client fetch something else, nor leave something out unseen."""
    first, second = heard(DOWN, stored(C, 9, "download"), stored(A, 1, "download"))
    assert (first["oid"], list(first["actions"])) == (A, ["download"])
    assert (second["error"]["code"], "did not answer for this object" in second["error"]["message"]) == (502, True)
    assert len(GIVEN) == 1


@pytest.mark.parametrize(
    ("code", "shown", "text"),
    [
        (404, 404, "does not have this object"), (410, 410, "owner of this object removed"),
        (422, 422, "does not accept this object"),
        (403, 403, "refused this object"), (200, 502, "refused this object"), (999, 502, "refused this object"),
        (400, 400, "refused this object"), (399, 502, "refused this object"), (600, 502, "refused this object"),
        (599, 599, "refused this object"),
    ],
)  # fmt: skip
def test_text_of_an_objects_error_is_credgates(code: int, shown: int, text: str) -> None:
    """A message of the forge's may hold anything."""
    (only,) = heard(Batch("download", {A: 1}), {"oid": A, "error": {"code": code, "message": "secret"}})
    assert only["error"]["code"] == shown
    assert text in only["error"]["message"]
    assert only["error"]["message"].startswith("credgate: ")


def test_link_to_another_host_refuses_only_its_object() -> None:
    """The host is named, so that an operator can list it."""
    first, second = heard(DOWN, stored(A, 1, "download", href="https://evil.example/x"), stored(B, 2, "download"))
    assert "on evil.example, which is not among lfs_hosts" in first["error"]["message"]
    assert list(second["actions"]) == ["download"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b'{"objects":5}', b'{"objects":[5]}', b'{"objects":[{"size":1}]}',
        json.dumps({"objects": [stored(A, 9, "download")]}).encode(),
        json.dumps({"objects": [stored(A, 1, "download"), stored(A, 1, "download")]}).encode(),
        json.dumps({"objects": [{"oid": A, "size": 1, "actions": []}]}).encode(),
        json.dumps({"objects": [{"oid": A, "size": 1, "actions": {"download": {}}}]}).encode(),
        json.dumps({"objects": [{"oid": A, "size": 1, "error": {"message": "x"}}]}).encode(),
        json.dumps({"objects": [{"oid": A, "size": 1, "authenticated": "yes"}]}).encode(),
        json.dumps({"objects": [], "hash_algo": "sha512"}).encode(),
        json.dumps({"objects": [], "transfer": 5}).encode(),
    ],
)  # fmt: skip
def test_malformed_answer_is_refused(body: bytes) -> None:
    """As a whole, with 502."""
    with pytest.raises(LfsError, match=r"malformed LFS batch answer of github.com") as caught:
        dict(read_answer(body, DOWN, HUB))
    assert (caught.value.reason, caught.value.status) == (Reason.FORGE_MALFORMED, 502)


def test_answer_with_another_transfer_is_refused() -> None:
    """Its protocol would not be checked."""
    with pytest.raises(LfsError, match="does not offer basic LFS transfers") as caught:
        dict(read_answer(b'{"transfer":"ssh","objects":[]}', DOWN, HUB))
    assert caught.value.reason is Reason.LFS_TRANSFER
