"""A real forge: nginx, fcgiwrap and ``git http-backend`` of the distribution, on loopback.

The same rules as ``PythonForge``: HTTP basic authentication for everything on ``port``, for pushes only on
``public_port``; renamed repositories answer 301. The secret is in nginx's password file, read at each request, so it
rotates without a reload.
"""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from tests.fakes.forge import USERS, write_git_config
from tests.fakes.needs import found, missing
from tests.fakes.waiting import accepts, free_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """
daemon off;
pid {scratch}/nginx.pid;
error_log {scratch}/error.log;
worker_processes 1;
{user}
events {{ worker_connections 512; }}
http {{
    access_log {scratch}/access.log;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    client_max_body_size 0;
    keepalive_timeout 60;
    large_client_header_buffers 8 64k;
    map $request_uri $public_realm {{ default off; ~git-receive-pack forge; }}
    server {{
        listen 127.0.0.1:{port};
        auth_basic forge;
        {locations}
    }}
    server {{
        listen 127.0.0.1:{public_port};
        auth_basic $public_realm;
        {locations}
    }}
}}
"""
LOCATIONS = """
        auth_basic_user_file {scratch}/passwords;
        {more}
        location ~ ^/moved-in/(.*)$ {{ try_files /none @moved_in; }}
        location @moved_in {{ rewrite ^/moved-in/(.*)$ http://$http_host/octo/$1 permanent; }}
        location ~ ^/moved-out/(.*)$ {{ try_files /none @moved_out; }}
        location @moved_out {{ rewrite ^/moved-out/(.*)$ http://$http_host/elsewhere/$1 permanent; }}
        location ~ ^/moved-away/(.*)$ {{ try_files /none @moved_away; }}
        location @moved_away {{ rewrite ^/moved-away/(.*)$ http://127.0.0.2:9/octo/$1 permanent; }}
        location / {{
            fastcgi_pass unix:{scratch}/fcgi.sock;
            fastcgi_request_buffering off;
            fastcgi_buffering off;
            fastcgi_read_timeout 300s;
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param GIT_PROJECT_ROOT {root};
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param GIT_CONFIG_GLOBAL {git_config};
            fastcgi_param GIT_CONFIG_NOSYSTEM 1;
            fastcgi_param PATH_INFO $uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param REMOTE_USER $remote_user;
            fastcgi_param REMOTE_ADDR $remote_addr;
            fastcgi_param GIT_PROTOCOL $http_git_protocol;
        }}
"""


def declined() -> bool:
    """Whether ``CREDGATE_TEST_FORGE=python`` asks for the other forge."""
    return os.environ.get("CREDGATE_TEST_FORGE") == "python"


def available() -> bool:
    """Whether nginx and fcgiwrap are installed, and not declined by ``CREDGATE_TEST_FORGE=python``."""
    return not declined() and not missing(["nginx", "fcgiwrap"])


class NginxForge:
    """Serves the bare repositories under ``root``."""

    kind = "nginx + fcgiwrap + git http-backend"

    def __init__(self, root: Path, secret: str, scratch: Path, locations: str = "") -> None:
        """``locations`` are nginx locations that precede those of git."""
        self.root, self.secret, self._scratch = root, secret, scratch
        self._locations = locations
        self.git_config = write_git_config(scratch)
        self.port, self.public_port = free_port(), free_port()
        self.rotate(secret)
        self._processes = [self._start_fcgiwrap(), self._start_nginx()]
        wait_until(lambda: accepts(self.port) and (scratch / "fcgi.sock").exists(), "nginx and fcgiwrap listen")

    def rotate(self, secret: str) -> None:
        """Replace the accepted secret."""
        self.secret = secret
        passwords = self._scratch / "passwords"
        draft = passwords.with_suffix(".new")
        draft.write_text("".join(f"{user}:{{PLAIN}}{secret}\n" for user in USERS))
        draft.chmod(0o600)
        draft.replace(passwords)

    def close(self) -> None:
        """Stop both process groups, with nginx's worker and fcgiwrap's children."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)

    def _start_fcgiwrap(self) -> subprocess.Popen[bytes]:
        socket = f"unix:{self._scratch}/fcgi.sock"
        with (self._scratch / "fcgiwrap.log").open("wb") as log:
            return subprocess.Popen(
                [str(found("fcgiwrap")), "-c", "8", "-s", socket],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _start_nginx(self) -> subprocess.Popen[bytes]:
        backend = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()
        places = {"scratch": self._scratch, "root": self.root, "git_config": self.git_config}
        locations = LOCATIONS.format(backend=f"{backend}/git-http-backend", more=self._locations, **places)
        text = CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "",
            port=self.port,
            public_port=self.public_port,
            locations=locations,
            **places,
        )
        path = self._scratch / "nginx.conf"
        path.write_text(text)
        return subprocess.Popen(
            [str(found("nginx")), "-e", f"{self._scratch}/error.log", "-p", str(self._scratch), "-c", str(path)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
