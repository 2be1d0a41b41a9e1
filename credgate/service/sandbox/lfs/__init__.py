"""Git LFS exchanges: batches, locks and objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.lfs.target import Call
from credgate.service.sandbox.lfs.batch_exchange import LfsApiExchange
from credgate.service.sandbox.lfs.object_download import ObjectDownload
from credgate.service.sandbox.lfs.object_upload import ObjectUpload

if TYPE_CHECKING:
    from credgate.git.authorize import LfsRelay
    from credgate.http.grammar import RequestHead
    from credgate.service.sandbox.ports import Client
    from credgate.service.sandbox.request_log import RequestLog

# Objects are streamed; every other request is small JSON, which is read whole.
_KINDS: dict[Call, type[ObjectDownload | ObjectUpload]] = {Call.DOWNLOAD: ObjectDownload, Call.UPLOAD: ObjectUpload}


def make_lfs_exchange(
    channel: Client, record: RequestLog, head: RequestHead, verdict: LfsRelay
) -> LfsApiExchange | ObjectDownload | ObjectUpload:
    """Return the exchange for an admitted request; ``start`` begins it."""
    return _KINDS.get(verdict.request.call, LfsApiExchange)(channel, record, head, verdict)
