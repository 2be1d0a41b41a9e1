"""The Dockerfiles and their build contexts."""

from __future__ import annotations

import configparser
import fnmatch
import tomllib
from pathlib import Path

import pytest

from credgate.loading.load import load
from tests.docker.shipped import DOCKER, ROOT, compose, dockerfile

NAMES = ("gateway.Dockerfile", "sandbox.Dockerfile")


@pytest.mark.parametrize("name", NAMES)
def test_base_image_and_package_index_are_arguments(name: str) -> None:
    """The default base has a version, and no URL is in the file."""
    lines = dockerfile(name)
    bases = [line.rest for line in lines if line.word == "FROM"]
    assert {base.partition(" ")[0] for base in bases} == {"${BASE_IMAGE}"}
    default = next(line.rest for line in lines if line.word == "ARG" and line.stage == 0).partition("=")[2]
    _, _, tag = default.partition(":")
    assert tag not in {"", "latest"}
    assert "/" not in default
    assert "://" not in "".join(line.rest for line in lines)


def test_compose_file_has_the_same_base_images() -> None:
    """As the Dockerfiles."""
    for service, name in (("gateway", "gateway.Dockerfile"), ("dev", "sandbox.Dockerfile")):
        build = compose("compose.yml")["services"][service]["build"]
        assert (ROOT / "docker" / build["context"]).resolve() == ROOT
        assert build["dockerfile"] == f"docker/{name}"
        assert f"BASE_IMAGE={build['args']['BASE_IMAGE']}" == dockerfile(name)[0].rest


@pytest.mark.parametrize("name", NAMES)
def test_image_user_is_a_number_and_not_root(name: str) -> None:
    """An engine can check a number without reading the image."""
    user = [line.rest for line in dockerfile(name) if line.word == "USER"][-1]
    assert min(map(int, user.split(":"))) > 0


def test_last_stage_of_the_gateway_installs_nothing() -> None:
    """Files are copied from the first stage, which installs wheels only."""
    lines = dockerfile("gateway.Dockerfile")
    last = max(line.stage for line in lines)
    assert last == 2
    for line in lines:
        if line.stage == last:
            assert line.word not in {"ARG", "ADD"}
            assert not any(word in line.rest for word in ("pip", "apt", "gcc", "curl", "PIP_"))
    installs = [line.rest for line in lines if "pip" in line.rest and " install " in line.rest]
    assert installs
    assert all("--only-binary :all:" in text for text in installs)


def test_gateway_is_process_1() -> None:
    """Without a shell in between, which would get the signals."""
    lines = dockerfile("gateway.Dockerfile")
    (entry,) = [line.rest for line in lines if line.word == "ENTRYPOINT"]
    assert entry == '["twistd", "-n", "--pidfile=", "credgate"]'
    assert [line.rest for line in lines if line.word == "CMD"] == ['["--config", "/etc/credgate/credgate.toml"]']


def test_health_check_is_copied_to_the_image() -> None:
    """All other copied files exist, too."""
    (check,) = [line.rest for line in dockerfile("gateway.Dockerfile") if line.word == "HEALTHCHECK"]
    assert check.endswith('CMD ["python", "/opt/credgate/healthcheck.py"]')
    copies = [line for line in dockerfile("gateway.Dockerfile") if line.word == "COPY"]
    assert any(line.rest == "docker/healthcheck.py /opt/credgate/healthcheck.py" for line in copies)


def _is_admitted(path: str) -> bool:
    """Whether .dockerignore admits a path: the last line that matches it or a directory above it decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text().split("\n"):
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        steps = [path, *map(str, Path(path).parents)][:-1]
        names = [Path(step).name for step in steps] if pattern.startswith("**/") else steps
        if any(fnmatch.fnmatchcase(step, pattern.removeprefix("**/")) for step in names):
            kept = line.strip().startswith("!")
    return kept


@pytest.mark.parametrize("name", NAMES)
def test_copied_files_exist_and_are_not_ignored(name: str) -> None:
    """Otherwise a module could be missing in the image."""
    for line in dockerfile(name):
        for source in line.sources if line.word == "COPY" else []:
            assert (ROOT / source).exists(), source
            assert _is_admitted(source), source


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        "docker/credentials/github",
        "docker/run/control.sock",
        "docker/state/sessions.db",
        "tests/conftest.py",
        ".env",
        "credgate/__pycache__/values.cpython-311.pyc",
        "twisted/plugins/dropin.cache",
    ],
)
def test_other_files_are_not_sent_to_the_builder(path: str) -> None:
    """Such as credentials and state beside the compose file."""
    assert not _is_admitted(path)


def test_build_stage_gets_all_files_of_the_wheel() -> None:
    """Each package of the source tree."""
    sources = {source for line in dockerfile("gateway.Dockerfile") for source in line.sources if line.word == "COPY"}
    assert {"pyproject.toml", "setup.cfg", "README.md", "LICENSE", "credgate", "twisted"} <= sources


def test_setup_cfg_lists_every_package() -> None:
    """A missing one would fail in the image only."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("credgate/**/__init__.py")}
    named = set(setup["options"]["packages"].split()) - {"twisted.plugins"}
    assert folders - {name.replace(".", "/") for name in named} == set()


def test_shipped_configuration_is_valid(tmp_path: Path) -> None:
    """Its credential is in the mounted directory, its listeners are those of the health check."""
    text = (DOCKER / "credgate.toml").read_text()
    credential = tomllib.loads(text)["forges"]["github.com"]["credential"]
    assert credential == "file:///etc/credgate/credentials/github"
    file = tmp_path / "github"
    file.touch(mode=0o600)
    file.write_text("ghp_nobody\n")
    path = tmp_path / "credgate.toml"
    path.write_text(text.replace("/etc/credgate/credentials/github", str(file)))
    listen = load(path, {}).listen
    assert listen.git == "tcp:8080:interface=0.0.0.0"
    assert str(listen.control) == "/run/credgate/control.sock"
    assert listen.dns
    check = (DOCKER / "healthcheck.py").read_text()
    assert all(place in check for place in ('"127.0.0.1:8080"', '"127.0.0.1:53"', '"/run/credgate/control.sock"'))
