"""Renamed repositories: the forge answers 301, and the session's grants decide what happens next.

git follows a redirect with its session credential (measured), so none of the forge's may reach it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.gitlab_api import GitLabApi
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories


def test_a_rename_within_the_grants_works(repos: Repositories, enter: Enter, login: str, door: Door) -> None:
    """Clone and push by the old name; no address but the gateway's is ever shown to git."""
    path = repos.seeded()
    old = path.replace("octo/", "moved-in/")
    box = enter([path, old], login=login).box
    box.git("clone", address(old), "clone").fine()
    pushed = box.commit("clone", "file", b"new\n")
    box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    assert repos.head(path) == pushed
    locations = [line for line in door.front.down.split(b"\r\n") if line.lower().startswith(b"location:")]
    assert all(b"/git/octo/" in line for line in locations)


def test_rename_outside_the_grants_is_refused_without_the_new_name(
    repos: Repositories, enter: Enter, login: str, door: Door
) -> None:
    """A grant for ``moved-out/x`` is not a grant for ``elsewhere/x``, and the new name is not repeated."""
    new = repos.seeded(repos.fresh("elsewhere"))
    old = new.replace("elsewhere/", "moved-out/")
    said = enter([old], login=login).box.git("ls-remote", address(old)).refused()
    assert "remote: credgate" in said
    assert "its new name is outside this session" in said
    assert new not in said
    assert b"ocation:" not in door.front.down
    assert door.gateway.audited(repo=old, reason="forge-moved")["upstream_status"] == 301


def test_a_redirect_to_another_host_is_not_passed_on(
    repos: Repositories, enter: Enter, login: str, door: Door, forge: Forge
) -> None:
    """Neither followed by the gateway nor shown to git, the address included."""
    old = repos.fresh("moved-away")
    said = enter([old, "octo/*"], login=login).box.git("ls-remote", address(old)).refused()
    assert "remote: credgate" in said
    assert b"127.0.0.2" not in door.front.down
    assert b"127.0.0.2" in forge.plain.down
    assert door.gateway.audited(repo=old, reason="forge-moved")["status"] in {403, 502}


EVERYTHING = [{"refs": "refs/**", "allow": ["create", "update", "force", "delete"]}]
WORKFLOW = ".github/workflows/ci.yml"


def test_a_push_by_the_old_name_has_the_rules_of_the_new_name(
    repos: Repositories, enter: Enter, login: str, door: Door
) -> None:
    """The old name's grant allows everything: a rewritten main with a workflow in it lands only if the new one does."""
    strict = {"push": [{"refs": "refs/heads/**", "allow": ["create", "update"]}], "protected_paths": [WORKFLOW]}
    cases = (
        ({"push": []}, "this session may push nothing to this repository", "push-ref"),
        ({**strict, "protected_paths": []}, "does not allow force", "push-force"),
        (strict | {"push": EVERYTHING}, f"{WORKFLOW} is protected", "push-path"),
        ({"push": EVERYTHING}, "", "allowed"),
    )
    for number, (limits, said, reason) in enumerate(cases):
        path = repos.seeded()
        old = path.replace("octo/", "moved-in/")
        box = enter([{"repo": path, **limits}, {"repo": old, "push": EVERYTHING}], login=login).box
        box.git("clone", "-q", address(old), f"clone{number}").fine()
        (box.home / f"clone{number}" / ".github" / "workflows").mkdir(parents=True)
        box.git("reset", "-q", "--hard", "HEAD~1", cwd=f"clone{number}").fine()
        commit = box.commit(f"clone{number}", WORKFLOW, b"on: push\n")
        before = repos.head(path)
        door.gateway.forget_audit()
        pushed = box.git("push", "--force", "origin", "HEAD:main", cwd=f"clone{number}")
        if reason == "allowed":
            pushed.fine()
            assert repos.head(path) == commit
        else:
            assert said in pushed.refused()
            assert repos.head(path) == before
        assert door.gateway.audited(repo=path, moved_from=old, reason=reason)


def test_a_project_that_gitlab_serves_under_its_old_path_is_refused(
    repos: Repositories, forge: Forge, start_gateway: StartGateway, enter: Enter
) -> None:
    """Where ``check_path`` has the API asked: a fetch and a push by the old path, discovered or not; else they pass."""
    kept, old = repos.seeded(), repos.seeded()
    before = repos.head(old)
    api = GitLabApi()
    try:
        api.projects = {kept: kept, old: "elsewhere/transferred"}
        common = {"kind": "gitlab", "username": "", "api_url": f"{api.url}/api/v4"}
        for check in (True, False):
            settings = {'forges."github.com"': {**common, "check_path": check}}
            door = start_gateway(settings=settings)
            box = enter(["octo/*"], door=door).box
            box.git("clone", "-q", address(kept), f"kept{check}").fine()
            box.commit(f"kept{check}", "file", b"%d" % check)
            box.git("push", "-q", "origin", "HEAD:main", cwd=f"kept{check}").fine()
            if not check:
                box.git("ls-remote", address(old)).fine()
                continue
            for command in (("ls-remote", address(old)), ("push", address(old), "+HEAD:main")):
                said = box.git(*command, cwd=f"kept{check}").refused()
                assert "github.com has this project under another path now" in said
                assert "transferred" not in said
            assert door.gateway.audited(repo=old, reason="forge-moved", rule="check_path")["status"] == 403
            assert repos.head(old) == before
    finally:
        api.close()
