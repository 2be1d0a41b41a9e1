"""From the words of a command line to the ``repos`` of a create, and back to words.

    --repo octo/hello --repo octo/docs:read --push 'refs/heads/agent/*' --push 'refs/tags/*:create' --forge git.example

A repository is written to unless ``:read`` follows it; ``--push`` rules hold for all that are, and without one the
default ref rules do. A rule's verbs follow a colon, which no ref can hold (git-check-ref-format(1)); without any they
are ``create,update``. What a repository may be called and what a pattern means, the gateway judges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from credgate.rules.parse import VERBS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_VERBS = ["create", "update"]
_ACCESS = ("read", "write")


def grants(repos: Sequence[str], push: Sequence[str], forge: str) -> list[dict[str, Any]]:
    """Return the ``repos`` list. Raises click.UsageError."""
    rules = [_rule(one) for one in push]
    found = [_grant(one, forge) for one in repos]
    written = [grant for grant in found if grant["access"] == "write"]
    if rules and not written:
        raise click.UsageError("--push is for a repository that may be written to: --repo OWNER/REPO")
    for grant in written if rules else []:
        grant["push"] = rules
    return found


def _grant(text: str, forge: str) -> dict[str, Any]:
    repo, colon, access = text.rpartition(":")
    if not colon:
        repo, access = text, "write"
    if access not in _ACCESS or not repo:
        raise click.UsageError(f"--repo is OWNER/REPO, OWNER/REPO:read or OWNER/REPO:write, not {text}")
    return {"repo": repo, "access": access} | ({"forge": forge} if forge else {})


def _rule(text: str) -> dict[str, Any]:
    refs, _, verbs = text.partition(":")
    allow = verbs.split(",") if verbs else DEFAULT_VERBS
    if unknown := [verb for verb in allow if verb not in VERBS]:
        raise click.UsageError(f"--push is REFS or REFS:VERB,..., with verbs of {', '.join(VERBS)}, not {unknown[0]}")
    return {"refs": refs, "allow": allow}


def spelled(grant: Mapping[str, Any], default_forge: str = "github.com") -> str:
    """Say a grant in a few words: ``octo/hello``, ``octo/docs (read)``, ``octo/x (push refs/heads/agent/*)``."""
    name = grant["repo"] if grant.get("forge", default_forge) == default_forge else f"{grant['forge']}/{grant['repo']}"
    if grant["access"] == "read":
        return f"{name} (read)"
    if "push" not in grant:
        return str(name)
    return f"{name} (push {', '.join(rule['refs'] for rule in grant['push']) or 'nothing'})"
