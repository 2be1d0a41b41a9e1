"""One request to a forge's API.

``path`` is appended to the API's base URL. Secrets are in ``headers`` and ``body`` only, never in a path, because paths
are logged; ``repr`` does not show them.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, urlencode

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen(slots=True)
class Request:
    """A request. If there is a body, ``headers`` contain its ``Content-Type``."""

    method: str
    path: str
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


def with_json(method: str, path: str, headers: Mapping[str, str], content: object) -> Request:
    """Make a request that carries JSON."""
    body = json.dumps(content, separators=(",", ":")).encode("ascii")
    return Request(method, path, {**headers, "Content-Type": "application/json"}, body)


def with_form(path: str, headers: Mapping[str, str], form: Mapping[str, str]) -> Request:
    """Make a POST that carries a form."""
    more = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    return Request("POST", path, {**headers, **more}, urlencode(form).encode("ascii"))


def client_login(client_id: str, client_secret: str) -> str:
    """Return the ``Authorization`` value of an OAuth client."""
    # RFC 6749 section 2.3.1: both halves are form-encoded.
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return "Basic " + b64encode(pair.encode("ascii")).decode("ascii")
