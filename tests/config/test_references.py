"""References to secrets: what each form names, and that a pasted secret is never repeated."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from credgate.config.references import Reference, parse_reference
from credgate.errors import ConfigError

CANARY = "ghp_CANARY0123456789"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("env://GITHUB_TOKEN", Reference("env", "GITHUB_TOKEN")),
        ("env://_a1", Reference("env", "_a1")),
        ("file:///run/secrets/github", Reference("file", "/run/secrets/github")),
        ("file:///a b%20c", Reference("file", "/a b%20c")),
        ("systemd://github-token", Reference("systemd", "github-token")),
        ("keyring://credgate/alice", Reference("keyring", "credgate/alice")),
        ("keyring://gh:github.com/a b/alice", Reference("keyring", "gh:github.com/a b/alice")),
    ],
)
def test_each_kind_of_reference_is_read(text: str, reference: Reference) -> None:
    """Nothing is decoded, and ``str()`` returns the original text."""
    assert parse_reference(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cmd:///usr/bin/gh auth token", ("/usr/bin/gh", "auth", "token")),
        ("cmd://op read 'op://Private/git hub/token'", ("op", "read", "op://Private/git hub/token")),
        ('cmd://vault read -field="a b" x\\ y', ("vault", "read", "-field=a b", "x y")),
        ("cmd://echo $HOME `id` ; * | cat #x", ("echo", "$HOME", "`id`", ";", "*", "|", "cat", "#x")),
    ],
)
def test_command_is_split_into_words_without_a_shell(text: str, words: tuple[str, ...]) -> None:
    """Characters that are special to a shell are passed on literally."""
    assert parse_reference(text).words == words


@pytest.mark.parametrize("text", ["cmd:// ", "cmd://bin/gh", "cmd://./gh x", "cmd:///", "cmd://~/gh", "cmd://'' x"])
def test_program_is_an_absolute_path_or_a_plain_name(text: str) -> None:
    """A relative path would depend on the daemon's working directory."""
    with pytest.raises(ConfigError, match="cmd:// must start with a program"):
        parse_reference(text)


def test_unclosed_quotation_is_refused() -> None:
    """The error does not contain the text, which may be a token."""
    with pytest.raises(ConfigError, match="unclosed quotation") as caught:
        parse_reference(f"cmd://echo '{CANARY}")
    assert "CANARY" not in str(caught.value)


def test_command_is_never_shown() -> None:
    """People paste tokens as arguments, and as the program."""
    reference = parse_reference(f"cmd://{CANARY} {CANARY}")
    assert "CANARY" not in f"{reference} {reference!r}"


def test_keyring_entry_has_a_service_and_a_user() -> None:
    """The service may be a URL; the user follows the last slash."""
    assert parse_reference("keyring://https://git.example/alice").entry == ("https://git.example", "alice")


@pytest.mark.parametrize(
    "text",
    [
        "",
        CANARY,
        "env://",
        "env://1A",
        "env://A-B",
        "env://A\n",
        "ENV://A",
        "env:A",
        "file://",
        "file:///",
        "file://host/path",
        "file:/path",
        "file:///a\x00b",
        "file:///a\n",
        "systemd://",
        "systemd://../x",
        "systemd://.",
        "systemd://a/b",
        "cmd://",
        "cmd:///bin/a\nb",
        "keyring://alice",
        "keyring:///alice",
        "keyring://service/",
        "vault://x",
        f"https://{CANARY}@github.com",
    ],
)
def test_invalid_reference_is_refused_and_not_repeated(text: str) -> None:
    """The most likely mistake is a pasted token."""
    with pytest.raises(ConfigError, match="expected a reference") as caught:
        parse_reference(text)
    assert "CANARY" not in str(caught.value)


@given(st.text() | st.text().map("cmd://".__add__) | st.text().map("keyring://".__add__))
@example("cmd://\ud800")
def test_arbitrary_text_raises_only_config_error(text: str) -> None:
    """Another exception would be a traceback at start."""
    try:
        reference = parse_reference(text)
    except ConfigError:
        return
    assert text == f"{reference.kind}://{reference.target}"
    assert (reference.kind == "cmd") == bool(reference.words)
