"""Sessions in one SQLite file: durable before they are answered, consistent after ``kill -9``.

Write-ahead log with ``synchronous=FULL``: a commit is on the disk when it returns. The file has mode 0600 in a
directory that other users cannot write to (created with 0700). Only one process may open it
(``locking_mode=EXCLUSIVE``): a second gateway with its own memory would accept sessions that the first has revoked. An
application id and a schema version ensure that neither the database of another program nor a newer one is changed. The
file holds digests, never a token.

``open`` refuses a file that fails a check (integrity_check, version, the stored clock) and never repairs it. A row that
cannot be read is reported in ``damaged`` and skipped; it grants nothing. Times are arguments: the times in a file from
an earlier boot are converted in the same transaction that stores the new reading, so that a crash cannot convert them
twice. See https://sqlite.org/wal.html, https://sqlite.org/pragma.html.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from credgate import private_file
from credgate.errors import StoreError
from credgate.sessions import rows
from credgate.sessions.lease_clock import LeaseReading, shift

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from credgate.sessions.model import Session

APPLICATION_ID = 0x63726774  # "crgt"
SCHEMA_VERSION = 1
# How long another process may lock the file before that is an error.
BUSY_SECONDS = 5.0
# A database file is empty or at least this long (https://sqlite.org/fileformat.html section 1.3).
HEADER_BYTES = 100
# Seconds that a stored time may be ahead of the stored clock, since calls wait in a queue before they are written.
LEAD = 1.0

_SCHEMA = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    token_digest BLOB NOT NULL UNIQUE,
    secret_digest BLOB NOT NULL,
    grants TEXT NOT NULL,
    created REAL NOT NULL,
    used REAL NOT NULL,
    created_wall REAL NOT NULL,
    idle_ttl REAL NOT NULL,
    absolute_ttl REAL NOT NULL,
    bound_to TEXT NOT NULL,
    label TEXT NOT NULL,
    dns TEXT NOT NULL
) STRICT;
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), boot_id TEXT, boot REAL, wall REAL) STRICT;
"""
_INSERT = f"INSERT INTO sessions ({', '.join(rows.COLUMNS)}) VALUES ({', '.join('?' * len(rows.COLUMNS))})"  # noqa: S608 - constants
_SELECT = f"SELECT {', '.join(rows.COLUMNS)} FROM sessions ORDER BY created, id"  # noqa: S608 - constants
_REMOVE = "DELETE FROM sessions WHERE id = ?"
_EXTEND = "UPDATE sessions SET used = max(used, ?), absolute_ttl = max(absolute_ttl, ?) WHERE id = ?"
_KEEP_READING = "INSERT OR REPLACE INTO clock (one, boot_id, boot, wall) VALUES (1, ?, ?, ?)"


class SqliteStore:
    """The store of ``sqlite:///path``. Every method is called from the thread that called ``open``."""

    def __init__(self, path: Path) -> None:
        self.damaged: tuple[str, ...] = ()
        self.path = path
        self._boot_id = ""
        self._open: sqlite3.Connection | None = None

    def open(self, now: LeaseReading) -> list[Session]:
        """Open or create the file, check it, convert its times to this boot, and load the sessions."""
        private_file.prepare(self.path)
        with self._converted_errors():
            self._open = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            self._open.text_factory = _text
        try:
            with self._converted_errors():
                return self._load(now)
        except BaseException:
            self.close()
            raise

    def insert(self, session: Session, gone: Collection[str] = ()) -> None:
        """Add a session and the clock reading of its creation."""
        with self._transaction() as db:
            db.executemany(_REMOVE, [(key,) for key in gone])
            db.execute(_INSERT, rows.write(session))
            db.execute(_KEEP_READING, (self._boot_id, session.created, session.created_wall))

    def remove(self, ids: Collection[str]) -> int:
        """Remove sessions in one transaction; return how many existed."""
        with self._transaction() as db:
            return db.executemany(_REMOVE, [(key,) for key in ids]).rowcount

    def extend(self, session: Session, now: LeaseReading, gone: Collection[str] = ()) -> bool:
        """Raise the session's times and store the reading, in one transaction."""
        with self._transaction() as db:
            db.executemany(_REMOVE, [(key,) for key in gone])
            db.execute(_KEEP_READING, (now.boot_id, now.boot, now.wall))
            times = (session.used, session.absolute_ttl, session.id)
            return db.execute(_EXTEND, times).rowcount > 0

    def touch(self, uses: Mapping[str, float], now: LeaseReading, gone: Collection[str] = ()) -> None:
        """Move ``used`` forward and store the reading, in one transaction."""
        with self._transaction() as db:
            db.executemany(_REMOVE, [(key,) for key in gone])
            db.executemany(
                "UPDATE sessions SET used = max(used, ?) WHERE id = ?", [(used, key) for key, used in uses.items()]
            )
            db.execute(_KEEP_READING, (now.boot_id, now.boot, now.wall))

    def close(self) -> None:
        """Close the file; SQLite merges the write-ahead log into it."""
        db, self._open = self._open, None
        if db is not None:
            with self._converted_errors():
                db.close()

    def _load(self, now: LeaseReading) -> list[Session]:
        db = self._connection()
        for pragma in ("locking_mode = EXCLUSIVE", "trusted_schema = OFF", "cell_size_check = ON"):
            db.execute(f"PRAGMA {pragma}")
        self._recognise(db)
        private_file.close_to_others(self.path)
        if self._pragma(db, "journal_mode = WAL") != "wal":
            self._refuse("cannot have a write-ahead log on this file system; move it to a local one")
        db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            if not self._pragma(db, "user_version"):
                self._make(db, now)
            self._check(db)
            stored = self._convert_times(db, now)
            self._boot_id = now.boot_id
            return self._sessions(db, stored)

    def _recognise(self, db: sqlite3.Connection) -> None:
        """Refuse a file of another program or version before anything is written to it."""
        application, version = self._pragma(db, "application_id"), self._pragma(db, "user_version")
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (application, version, tables) == (0, 0, 0):
            if 0 < self.path.stat().st_size < HEADER_BYTES:  # SQLite would treat it as a new file
                raise sqlite3.DatabaseError("file is not a database")
            return
        if application != APPLICATION_ID:
            self._refuse("is a database of another program; set another path in [sessions] store")
        if version != SCHEMA_VERSION:
            self._refuse(
                f"has schema version {version} and this credgate reads {SCHEMA_VERSION}; "
                "run the version that wrote it, or move the file away and create the sessions again"
            )

    def _make(self, db: sqlite3.Connection, now: LeaseReading) -> None:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            db.execute(statement)
        db.execute(_KEEP_READING, (now.boot_id, now.boot, now.wall))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check(self, db: sqlite3.Connection) -> None:
        verdict = self._pragma(db, "integrity_check(1)")
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)

    def _convert_times(self, db: sqlite3.Connection, now: LeaseReading) -> LeaseReading:
        """Convert all times to the clock of this boot; return the stored reading, converted too."""
        row = db.execute("SELECT boot_id, boot, wall FROM clock").fetchone()
        stored = LeaseReading(*row) if row and None not in row else LeaseReading("", 0.0, 0.0)
        if not stored.usable():
            raise sqlite3.DatabaseError("the stored clock is missing or damaged")
        by = shift(stored, now)
        if by:
            db.execute("UPDATE sessions SET created = created + ?, used = used + ?", (by, by))
        db.execute(_KEEP_READING, (now.boot_id, now.boot, now.wall))
        return LeaseReading(now.boot_id, stored.boot + by, now.wall)

    def _sessions(self, db: sqlite3.Connection, stored: LeaseReading) -> list[Session]:
        found, damaged = [], []
        for row in db.execute(_SELECT):
            try:
                session = rows.read(row)
                if session.used > stored.boot + LEAD:
                    raise ValueError("last use is in the future")  # noqa: TRY301 - one place reports a bad row
            except ValueError as error:
                damaged.append(f"{self.path}: session {ascii(row[0])[:80]} is skipped: {error}")
            else:
                found.append(session)
        rows.forget()
        self.damaged = tuple(damaged)
        return found

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block in one transaction."""
        with self._converted_errors():
            db = self._connection()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # After some errors (a full disk) SQLite has rolled back by itself.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _converted_errors(self) -> Iterator[None]:
        """Convert SQLite's errors to StoreErrors that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {_advice(error)}") from error

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            self._refuse("is not open")
        return self._open

    def _refuse(self, text: str) -> NoReturn:
        raise StoreError(f"{self.path} {text}")

    @staticmethod
    def _pragma(db: sqlite3.Connection, pragma: str) -> Any:  # noqa: ANN401 - an int or a str, by pragma
        return db.execute(f"PRAGMA {pragma}").fetchone()[0]


def _text(raw: bytes) -> str | bytes:
    """Decode a column. Invalid UTF-8 stays bytes, so that one bad row does not fail the whole query."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def _advice(error: sqlite3.Error) -> str:
    """Return SQLite's text of the error with the remedy."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"in use by another process ({error}); stop the other gateway, or configure another store"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"cannot be written ({error}); make the file and its directory writable for credgate's user"
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return f"cannot be written ({error}); free space or repair the disk"
    return f"damaged ({error}); restore it, or move it and its -wal file away and create the sessions again"
