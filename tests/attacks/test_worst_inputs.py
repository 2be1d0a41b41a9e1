"""No input of a megabyte stops the reactor for longer than is promised, or makes the process grow by more."""

from __future__ import annotations

import contextlib
import re
import secrets
import signal
from typing import TYPE_CHECKING

import pytest

from tests.attacks.conftest import CONTROL, REPO, Field, figures, good
from tests.attacks.fakedns import FakeDns
from tests.attacks.scripted import ScriptedForge
from tests.attacks.worst_inputs import ALLOWED_GROWTH, OTHER, PROMISED, RULED, Stage, measured
from tests.attacks.worst_table import CASES, row
from tests.fakes.gateway import Gateway
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.attacks.worst_inputs import Case

pytestmark = pytest.mark.alone
