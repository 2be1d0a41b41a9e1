"""A real LFS server: giftless (PyPI) under waitress, with its own storage folder, behind the forge's nginx.

nginx requires the forge's credential for the API. Objects are requested on the forge's host with giftless's signature,
which it checks (``?jwt=`` or an ``Authorization`` of its own). giftless ignores ``Range``, so nginx serves such
requests from the same folder, unchecked. Hrefs on another host, ``header`` values and locks are not covered; see
``tests.fakes.lfsforge``.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import jwt

from tests.fakes.waiting import accepts, free_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """
AUTH_PROVIDERS: []
LEGACY_ENDPOINTS: false
PRE_AUTHORIZED_ACTION_PROVIDER:
  options: {{private_key: {key}}}
TRANSFER_ADAPTERS:
  basic:
    options: {{storage_options: {{path: "{folder}"}}}}
"""
SERVE = """
import sys, warnings
warnings.simplefilter("ignore")
from waitress import serve
from giftless.app import init_app
port, scheme = sys.argv[1:]
serve(init_app(), host="127.0.0.1", port=int(port), threads=16, max_request_body_size=1 << 40, url_scheme=scheme)
"""
LOCATIONS = """
        location ~ "^/(?<lfs_repo>[^/]+/[^/]+)\\.git/info/lfs/objects/storage/(?<lfs_oid>[0-9a-f]{{64}})$" {{
            auth_basic off;
            error_page 418 = @ranged;
            if ($http_range) {{ return 418; }}
            proxy_pass http://127.0.0.1:{lfs_port};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_set_header Host $http_host;
        }}
        location @ranged {{ auth_basic off; root {folder}; try_files /$lfs_repo/$lfs_oid =404; }}
        location ~ ^/[^/]+/[^/]+\\.git/info/lfs/objects/storage/verify$ {{
            auth_basic off;
            proxy_pass http://127.0.0.1:{lfs_port};
            proxy_set_header Host $http_host;
        }}
        location ~ \\.git/info/lfs/objects/batch$ {{
            proxy_pass http://127.0.0.1:{lfs_port};
            proxy_set_header Host $http_host;
            proxy_set_header Authorization "Bearer {login}";
        }}
"""


def installed() -> bool:
    """Whether giftless is installed."""
    return importlib.util.find_spec("giftless") is not None


class Giftless:
    """One server on ``port``; objects are in ``folder``, below their repository, by oid.

    ``scheme`` is what its hrefs begin with: ``https`` where TLS ends before nginx.
    """

    def __init__(self, scratch: Path, scheme: str = "http") -> None:
        self.folder = scratch / "objects"
        self.folder.mkdir(parents=True)
        self.port = free_port()
        configuration = scratch / "giftless.yaml"
        self._key = secrets.token_hex(32)
        configuration.write_text(CONFIGURATION.format(folder=self.folder, key=self._key))
        environ = {"PATH": os.environ["PATH"], "GIFTLESS_CONFIG_FILE": str(configuration)}
        with (scratch / "giftless.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(self.port), scheme],
                cwd=scratch,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: accepts(self.port), "giftless listens")

    @property
    def locations(self) -> str:
        """The nginx configuration; giftless sees all API requests that nginx accepts as one user's."""
        user = {"sub": "forge", "name": "forge", "scopes": ["obj:*"], "exp": int(time.time()) + 86400}
        login = jwt.encode(user, self._key, "HS256", headers={"kid": "giftless-internal-jwt-key"})
        return LOCATIONS.format(lfs_port=self.port, folder=self.folder, login=login)

    def has(self, path: str, oid: str) -> bool:
        """Whether an object is stored completely."""
        return self.object(path, oid).exists()

    def object(self, path: str, oid: str) -> Path:
        """Return the file of an object of the repository ``path``."""
        return self.folder / path / oid

    def close(self) -> None:
        """Stop the server."""
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(20)
