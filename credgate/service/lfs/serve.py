"""From an admitted LFS request to the errand that serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.lfs.target import Call
from credgate.service.lfs.api import ApiErrand
from credgate.service.lfs.download import Download
from credgate.service.lfs.upload import Upload

if TYPE_CHECKING:
    from credgate.git.admission import LfsRelay
    from credgate.http.fields import RequestHead
    from credgate.service.channel import SandboxChannel
    from credgate.service.record import Record

_KINDS: dict[Call, type[Download | Upload]] = {Call.DOWNLOAD: Download, Call.UPLOAD: Upload}


def errand(
    channel: SandboxChannel, record: Record, head: RequestHead, verdict: LfsRelay
) -> ApiErrand | Download | Upload:
    """Return what the channel is to be busy with; ``start`` begins it."""
    return _KINDS.get(verdict.request.call, ApiErrand)(channel, record, head, verdict)
