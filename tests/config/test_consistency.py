"""Rules between keys."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from credgate.config.schema import (
    AppConfig,
    Config,
    ForgeConfig,
    ListenConfig,
    OAuthConfig,
    RotateConfig,
    SessionsConfig,
)
from credgate.loading.consistency import problems


def _with(forge: ForgeConfig) -> Config:
    return Config(default_forge=forge.name, forges={forge.name: forge})


def _found(config: Config) -> dict[tuple[str, ...], str]:
    return {problem.path: problem.text for problem in problems(config)}


def test_defaults_are_consistent() -> None:
    """This is the positive control of every rule below."""
    assert problems(Config()) == []


def test_either_lifetime_may_be_longer() -> None:
    """The shorter one ends the session; neither order is a mistake."""
    config = Config(sessions=SessionsConfig(idle_ttl=100.0, absolute_ttl=10.0))
    assert problems(config) == []


def test_missing_directories_are_refused() -> None:
    """No default directory is known and the file sets none."""
    config = Config(listen=ListenConfig(control=""), sessions=SessionsConfig(store=""))
    assert set(_found(config)) == {("listen", "control"), ("sessions", "store")}


def test_default_socket_path_that_is_too_long_is_refused() -> None:
    """The default contains the home directory, which may be long."""
    config = Config(listen=ListenConfig(control="/" + "x" * 107))
    assert _found(config)[("listen", "control")].endswith("set a shorter path")


def test_default_forge_must_be_configured() -> None:
    """A similar name is suggested."""
    forges = {"git.example.com": ForgeConfig(name="git.example.com", url="https://git.example.com")}
    written = Config(default_forge="git.exmple.com", forges=forges, lines={("default_forge",): 1})
    assert _found(written) == {
        ("default_forge",): 'no forge "git.exmple.com" is configured; did you mean "git.example.com"?'
    }
    assert set(_found(evolve(written, lines={}))) == {("forges",)}
    assert set(_found(Config(forges={}))) == {("forges",)}


def test_forge_without_url_is_refused() -> None:
    """Only the URL of github.com is known; another is suggested but not assumed."""
    assert _found(_with(ForgeConfig(name="a.example"))) == {
        ("forges", "a.example", "url"): 'required key is missing; did you mean url = "https://a.example"?'
    }


def test_check_path_needs_gitlab_and_a_token() -> None:
    """Elsewhere the key would have no effect."""
    lab = ForgeConfig(name="a", kind="gitlab", url="https://a", check_path=True)
    assert problems(_with(lab)) == []
    for other in (evolve(lab, kind="gitea"), evolve(lab, username="deploy")):
        assert set(_found(_with(other))) == {("forges", "a", "check_path")}
        assert problems(_with(evolve(other, check_path=False))) == []


def test_plain_http_needs_loopback_or_permission() -> None:
    """A credential in clear text on a network can be read by others."""
    plain = ForgeConfig(name="a", url="http://a.example")
    assert set(_found(_with(plain))) == {("forges", "a", "url")}
    assert problems(_with(evolve(plain, allow_plain_http=True))) == []
    assert problems(_with(evolve(plain, url="http://127.0.0.1:8000"))) == []


def test_ca_file_is_read_at_start(tmp_path: Path) -> None:
    """A mistyped path must not wait for the first request."""
    forge = ForgeConfig(name="a", url="https://a")
    authority = tmp_path / "ca.pem"
    authority.write_bytes((Path(__file__).parent / "testdata" / "authority.pem").read_bytes())
    assert problems(_with(evolve(forge, ca_file=str(authority)))) == []
    authority.write_text("no certificate")
    found = _found(_with(evolve(forge, ca_file=str(authority))))
    assert found == {("forges", "a", "ca_file"): "the file contains no usable PEM certificate"}
    missing = _found(_with(evolve(forge, ca_file=str(tmp_path / "none.pem"))))[("forges", "a", "ca_file")]
    assert missing == "the file cannot be read: No such file or directory"


def test_short_lived_table_must_be_complete_and_of_its_kind() -> None:
    """An incomplete table would fail at the first request only."""
    app = AppConfig(app_id="7", private_key="file:///k")
    forge = ForgeConfig(name="a", kind="github", url="https://a", app=app)
    assert problems(_with(forge)) == []
    assert _found(_with(evolve(forge, kind="generic"))) == {
        ("forges", "a", "app"): 'supported only for forges of kind "github"'
    }
    oauth = ForgeConfig(
        name="a", kind="gitea", url="https://a", oauth=OAuthConfig(client_id="c", client_secret="env://S")
    )
    assert set(_found(_with(oauth))) == {
        ("forges", "a", "oauth", "refresh_token"),
        ("forges", "a", "oauth", "key"),
    }


def test_two_short_lived_tables_are_refused() -> None:
    """It would be unclear which of them applies."""
    app, rotate = AppConfig(app_id="7", private_key="file:///k"), RotateConfig(token="env://T", key="env://K")
    found = _found(_with(ForgeConfig(name="a", kind="github", url="https://a", app=app, rotate=rotate)))
    assert found[("forges", "a", "rotate")] == 'conflicts with "app": a forge has at most one of these tables'
