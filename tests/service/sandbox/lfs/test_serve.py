"""Which errand serves which request."""

from __future__ import annotations

import pytest

from credgate.lfs.target import Call
from credgate.service.sandbox.lfs.batch_exchange import LfsApiExchange
from credgate.service.sandbox.lfs.object_download import ObjectDownload
from credgate.service.sandbox.lfs.object_upload import ObjectUpload
from tests.fakes.lfshouse import batch, call, get, put, target
from tests.fakes.relay import House


@pytest.mark.parametrize(("name", "kind"), [("download", ObjectDownload), ("upload", ObjectUpload)])
def test_an_object_is_streamed_its_own_way(name: str, kind: type) -> None:
    """Its bytes are never held; everything else is a small question, and is."""
    house = House()
    place = target(house, name)
    client = get(house, place) if name == "download" else house.say(put(place)[:-1])
    assert type(client.protocol._exchange) is kind


@pytest.mark.parametrize("request_", [batch(), call("/locks", {"path": "a"}), call("/locks", method="GET")])
def test_all_else_is_asked_and_answered(request_: bytes) -> None:
    """Batches and locks."""
    client = House().say(request_)
    assert type(client.protocol._exchange) is LfsApiExchange


def test_there_is_an_errand_for_every_call() -> None:
    """A new call must not become a question by chance: this table is to be read when one is added."""
    streamed = {Call.DOWNLOAD, Call.UPLOAD}
    assert {one.name for one in set(Call) - streamed} == {
        "BATCH", "VERIFY", "LOCK", "LOCKS", "UNLOCK", "VERIFY_LOCKS",
    }  # fmt: skip
