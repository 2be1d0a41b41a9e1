"""``credgate-sandbox`` in each shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from attrs import define

from tests.fakes.needs import SHELLS

HELPERS = Path(__file__).resolve().parents[2] / "helpers"
FOREIGN = '# theirs\n[user]\n\tname = Somebody\n[url "https://mirror.example/"]\n\tinsteadOf = https://example.com/\n'
GATEWAY = "http://gate.way:8080"


@define
class Place:
    """The system configuration of a sandbox."""

    shell: list[str]
    target: Path

    @property
    def rendered(self) -> Path:
        """The file that ``enable`` creates."""
        return self.target.with_name(self.target.name + ".credgate")

    def run(self, *arguments: str, enabled: str | None = "true", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run ``credgate-sandbox`` with these arguments."""
        given = {"PATH": "/usr/bin:/bin", "CREDGATE_GITCONFIG": str(self.target), "CREDGATE_URL": GATEWAY}
        given |= {} if enabled is None else {"SANDBOX_GATEWAY_ENABLED": enabled}
        command = [*self.shell, str(HELPERS / "credgate-sandbox"), *arguments]
        return subprocess.run(command, env=given | environ, capture_output=True, check=False, text=True, timeout=20)

    def git(self, *arguments: str) -> str:
        """Run git with the configuration and return its output."""
        environ = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_SYSTEM": str(self.target)}
        ran = subprocess.run(["git", *arguments], env=environ, capture_output=True, check=False, text=True, cwd="/")
        return ran.stdout.removesuffix("\n")

    def rewritten(self, url: str) -> str:
        """Return the URL that git uses for an address."""
        return self.git("ls-remote", "--get-url", url)


@pytest.fixture(params=SHELLS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Create a configuration, for each installed shell."""
    return Place(str(request.param).split(), tmp_path / "gitconfig")


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/octo/hello.git",
        "http://github.com/octo/hello.git",
        "git@github.com:octo/hello.git",
        "ssh://git@github.com/octo/hello.git",
        "ssh://git@github.com:22/octo/hello.git",
        "ssh://github.com/octo/hello.git",
        "ssh://git@ssh.github.com:443/octo/hello.git",
    ],
)
def test_every_spelling_of_an_address_is_rewritten(place: Place, url: str) -> None:
    """A submodule may use any of them."""
    assert place.rewritten(url) == url
    ran = place.run("enable")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert place.rewritten(url) == f"{GATEWAY}/git/octo/hello.git"


@pytest.mark.parametrize("url", ["https://github.company/x", "https://gitlab.com/a/b", "git@github.community:a/b"])
def test_other_hosts_are_not_rewritten(place: Place, url: str) -> None:
    """Also if their name has the same beginning."""
    place.run("enable")
    assert place.rewritten(url) == url


def test_credential_helper_is_set_for_the_gateway_only(place: Place) -> None:
    """An empty value before it clears helpers configured before, which could store the secret."""
    place.run("enable")
    listed = place.git("config", "--get-all", f"credential.{GATEWAY}.helper").split("\n")
    assert listed == ["", f"{HELPERS}/git-credential-credgate --gateway {GATEWAY}"]
    assert place.git("config", "--get-urlmatch", "credential.helper", f"{GATEWAY}/git/x").endswith(GATEWAY)
    assert place.git("config", "--get-urlmatch", "credential.helper", "https://github.com/x") == ""


def test_enable_can_be_repeated(place: Place) -> None:
    """Entry points run at every start."""
    place.run("enable")
    once = (place.target.read_bytes(), place.rendered.read_bytes())
    assert place.run("enable").returncode == 0
    assert (place.target.read_bytes(), place.rendered.read_bytes()) == once
    assert len(list(place.target.parent.iterdir())) == 2


def test_enable_with_another_gateway_replaces_the_first(place: Place) -> None:
    """No setting of the first remains."""
    place.run("enable")
    place.run("enable", "--gateway", "https://other/")
    assert place.rewritten("https://github.com/a/b") == "https://other/git/a/b"
    assert GATEWAY not in place.rendered.read_text() + place.target.read_text()


def test_other_configuration_is_not_changed(place: Place) -> None:
    """After disabling the file is identical."""
    place.target.write_text(FOREIGN)
    place.run("enable")
    assert place.target.read_text().startswith(FOREIGN)
    assert place.rewritten("https://example.com/a") == "https://mirror.example/a"
    assert place.run("disable").returncode == 0
    assert place.target.read_text() == FOREIGN
    assert not place.rendered.exists()


def test_other_includes_are_not_changed(place: Place) -> None:
    """Also if our path, read as a pattern, matches theirs."""
    near = str(place.rendered).replace(".credgate", "xcredgate")
    place.target.write_text(f"[include]\n\tpath = {near}\n")
    before = place.target.read_text()
    place.run("enable")
    assert place.git("config", "--system", "--get-all", "include.path").split("\n") == [near, str(place.rendered)]
    place.run("disable")
    assert place.target.read_text() == before


def test_disable_removes_everything_and_can_be_repeated(place: Place) -> None:
    """No file remains."""
    place.run("enable")
    for _ in range(2):
        assert place.run("disable").returncode == 0
        assert list(place.target.parent.iterdir()) == []


@pytest.mark.parametrize("enabled", [None, "", "false", "TRUE", "1", "yes"])
def test_enable_without_the_variable_disables(place: Place, enabled: str | None) -> None:
    """The value must be ``true``. It is not a failure."""
    place.run("enable")
    ran = place.run("enable", enabled=enabled)
    assert ran.returncode == 0
    assert "SANDBOX_GATEWAY_ENABLED is not true" in ran.stderr
    assert list(place.target.parent.iterdir()) == []
    assert place.rewritten("https://github.com/a/b") == "https://github.com/a/b"


def test_status_is_printed_and_is_the_exit_status(place: Place) -> None:
    """The token file is named, its content is not printed."""
    token_file = place.target.with_name("token")
    assert (place.run("status").returncode, place.run("status").stdout) == (1, "disabled\n")
    place.run("enable")
    ran = place.run("status", CREDGATE_TOKEN_FILE=str(token_file))
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"enabled: {GATEWAY}, by {place.rendered}\nsession: none")
    token_file.write_text("a:b\n")
    assert place.run("status", CREDGATE_TOKEN_FILE=str(token_file)).stdout.endswith(f"session: {token_file}\n")
    assert "a:b" not in ran.stdout


@pytest.mark.parametrize(
    "url",
    [
        "gateway:8080",
        "ftp://gateway",
        "http://",
        "http://a/b",
        "http://u:p@a",
        'http://a"]',
        "http://a b",
        "http://a\nb",
    ],
)
def test_invalid_gateway_url_is_refused(place: Place, url: str) -> None:
    """It is written to a configuration file and must not end the quotes there."""
    place.target.write_text(FOREIGN)
    ran = place.run("enable", "--gateway", url)
    assert ran.returncode == 2
    assert "credgate-sandbox: " in ran.stderr
    assert [path.name for path in place.target.parent.iterdir()] == ["gitconfig"]
    assert place.target.read_text() == FOREIGN


@pytest.mark.parametrize("arguments", [[], ["on"], ["enable", "--gateway"], ["enable", "--what"]])
def test_usage_error_is_status_2(place: Place, arguments: list[str]) -> None:
    """With a message."""
    ran = place.run(*arguments)
    assert (ran.returncode, ran.stderr.startswith("credgate-sandbox: ")) == (2, True)


def test_missing_template_or_helper_is_an_error(place: Place, tmp_path: Path) -> None:
    """Before anything is written."""
    ran = place.run("enable", CREDGATE_HELPER="/no/such/helper")
    assert (ran.returncode, "/no/such/helper" in ran.stderr) == (2, True)
    lonely = tmp_path / "bin" / "credgate-sandbox"
    lonely.parent.mkdir()
    shutil.copy(HELPERS / "credgate-sandbox", lonely)
    environ = {"PATH": "/usr/bin:/bin", "SANDBOX_GATEWAY_ENABLED": "true", "CREDGATE_GITCONFIG": str(place.target)}
    command = [*place.shell, str(lonely), "enable"]
    helper = {"CREDGATE_HELPER": str(HELPERS / "git-credential-credgate")}
    ran = subprocess.run(command, env=environ | helper, capture_output=True, check=False, text=True)
    assert (ran.returncode, "CREDGATE_TEMPLATE" in ran.stderr) == (2, True)
    assert not place.target.exists()


def test_written_files_are_readable_by_all_users(place: Place) -> None:
    """The sandbox's user is not root."""
    command = ["sh", "-c", 'umask 077; exec "$@"', "sh", *place.shell, str(HELPERS / "credgate-sandbox"), "enable"]
    environ = {"PATH": "/usr/bin:/bin", "SANDBOX_GATEWAY_ENABLED": "true", "CREDGATE_GITCONFIG": str(place.target)}
    subprocess.run(command, env=environ, check=True)
    assert [oct(path.stat().st_mode & 0o777) for path in (place.target, place.rendered)] == ["0o644", "0o644"]
