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
def test_each_form_is_read(text: str, reference: Reference) -> None:
    """Nothing is decoded: a path means its bytes. The reference spells itself again."""
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
def test_a_command_is_parted_into_words_and_no_more(text: str, words: tuple[str, ...]) -> None:
    """There is no shell: what a shell would act on is an argument like any other."""
    assert parse_reference(text).words == words


@pytest.mark.parametrize("text", ["cmd:// ", "cmd://bin/gh", "cmd://./gh x", "cmd:///", "cmd://~/gh", "cmd://'' x"])
def test_a_command_names_its_program_without_a_directory_of_the_moment(text: str) -> None:
    """A daemon's working directory is nobody's choice."""
    with pytest.raises(ConfigError, match="cmd:// must start with a program"):
        parse_reference(text)


def test_an_open_quotation_is_told() -> None:
    """And the text is not: it may hold the token."""
    with pytest.raises(ConfigError, match="unclosed quotation") as caught:
        parse_reference(f"cmd://echo '{CANARY}")
    assert "CANARY" not in str(caught.value)


def test_a_command_is_never_shown() -> None:
    """People paste tokens as arguments, and as the program."""
    reference = parse_reference(f"cmd://{CANARY} {CANARY}")
    assert "CANARY" not in f"{reference} {reference!r}"


def test_a_keyrings_entry_has_a_service_and_a_user() -> None:
    """The service may be a URL; the user is what follows the last slash."""
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
def test_anything_else_is_refused_and_not_repeated(text: str) -> None:
    """The likeliest mistake is the token itself."""
    with pytest.raises(ConfigError, match="expected a reference") as caught:
        parse_reference(text)
    assert "CANARY" not in str(caught.value)


@given(st.text() | st.text().map("cmd://".__add__) | st.text().map("keyring://".__add__))
@example("cmd://\ud800")
def test_any_text_is_a_reference_or_a_configuration_error(text: str) -> None:
    """Nothing else comes out of a typing error."""
    try:
        reference = parse_reference(text)
    except ConfigError:
        return
    assert text == f"{reference.kind}://{reference.target}"
    assert (reference.kind == "cmd") == bool(reference.words)
