"""The SQLite store: durable, private, and never trusted when it should not be."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from time import perf_counter

import pytest
from attrs import evolve

from credgate.errors import StoreError
from credgate.sessions import rows, sqlite
from credgate.sessions.lease_clock import LeaseReading
from credgate.sessions.sqlite import SqliteStore
from tests.fakes.needs import not_here
from tests.fakes.sessions import LeaseClock, session

NOW = LeaseClock()()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a path where nothing is yet."""
    return tmp_path / "sessions.db"


def filled(path: Path, count: int = 3) -> Path:
    """Leave a closed store with ``count`` sessions at ``path``."""
    store = SqliteStore(path)
    store.open(NOW)
    for number in range(count):
        store.insert(session(number))
    store.close()
    return path


def sql(path: Path, *statements: str) -> None:
    """Run statements on a closed store, as a person with the sqlite3 shell could."""
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def refusal(path: Path) -> str:
    """Return the text that refuses the store at ``path``; it must name the file and leave nothing open."""
    store = SqliteStore(path)
    with pytest.raises(StoreError) as caught:
        store.open(NOW)
    assert str(caught.value).startswith(str(path))
    store.close()
    assert not any(os.path.realpath(fd) == str(path) for fd in Path("/proc/self/fd").iterdir())
    return str(caught.value).removeprefix(str(path))


def test_directory_is_checked_before_the_file_is_opened(path: Path, tmp_path: Path) -> None:
    """SQLite follows links and creates their targets."""
    elsewhere = tmp_path / "elsewhere.sqlite"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.symlink_to(elsewhere)
    with pytest.raises(StoreError, match="cannot be used"):
        SqliteStore(path).open(NOW)
    assert not elsewhere.exists()
    path.unlink()
    store = SqliteStore(path)
    assert store.open(NOW) == []
    store.close()


def test_commit_is_synchronised_to_the_disk(path: Path) -> None:
    """With FULL, the log is synchronised at every commit."""
    store = SqliteStore(path)
    store.open(NOW)
    db = store._connection()
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert db.execute("PRAGMA locking_mode").fetchone() == ("exclusive",)
    store.close()


def test_all_files_are_private_for_any_umask(path: Path) -> None:
    """The write-ahead log has the same content as the file."""
    before = os.umask(0)
    try:
        store = SqliteStore(path)
        store.open(NOW)
        store.insert(session())
        names = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
        assert names == {"sessions.db": 0o600, "sessions.db-wal": 0o600}
        store.close()
    finally:
        os.umask(before)


def test_readable_file_is_made_private(path: Path) -> None:
    """Someone may have restored a copy by hand."""
    filled(path).chmod(0o644)
    store = SqliteStore(path)
    assert len(store.open(NOW)) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.close()


def test_no_file_contains_a_token_or_secret(path: Path) -> None:
    """A copy of the store must not give access."""
    store = SqliteStore(path)
    store.open(NOW)
    store.insert(session(7, label="findme"))
    for clean in (False, True):
        content = b"".join(one.read_bytes() for one in path.parent.iterdir())
        assert b"findme" in content
        assert b"token-7" not in content
        assert b"secret-7" not in content
        if not clean:
            store.close()


def test_second_gateway_on_the_same_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would accept sessions that the other has revoked."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    store = SqliteStore(path)
    store.open(NOW)
    text = ": in use by another process (database is locked); stop the other gateway, or configure another store"
    other = SqliteStore(path)
    with pytest.raises(StoreError, match="in use by another process") as caught:
        other.open(NOW)
    assert str(caught.value) == f"{path}{text}"
    store.insert(session())
    store.close()
    assert other.open(NOW) == [session()]
    other.close()


@pytest.mark.parametrize("content", [b"not a database, and longer than a header of SQLite's would be" * 40, b"x"])
def test_file_that_is_not_a_database_is_refused_unchanged(path: Path, content: bytes) -> None:
    """It may be needed to find out what happened."""
    path.write_bytes(content)
    text = ": damaged (file is not a database); restore it, or move it and its -wal file away "
    assert refusal(path) == text + "and create the sessions again"
    assert path.read_bytes() == content


def test_database_of_another_program_is_refused_unchanged(path: Path) -> None:
    """A mistyped path must not destroy it."""
    sql(path, "CREATE TABLE bookmarks (url TEXT)", "PRAGMA user_version = 1")
    path.chmod(0o644)
    content = path.read_bytes()
    assert refusal(path) == " is a database of another program; set another path in [sessions] store"
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (content, 0o644)


def test_store_of_another_version_is_refused_unchanged(path: Path) -> None:
    """An older credgate cannot read the sessions of a newer one."""
    sql(filled(path), "PRAGMA user_version = 2")
    content = path.read_bytes()
    assert refusal(path) == (
        " has schema version 2 and this credgate reads 1; "
        "run the version that wrote it, or move the file away and create the sessions again"
    )
    assert path.read_bytes() == content
    sql(path, "PRAGMA user_version = 1")
    store = SqliteStore(path)
    assert len(store.open(NOW)) == 3
    store.close()


@pytest.mark.parametrize("keep", [100, 5000, 12288])
def test_truncated_store_is_refused(path: Path, keep: int) -> None:
    """It is unknown which sessions are lost."""
    content = filled(path, 50).read_bytes()
    assert len(content) > keep
    path.write_bytes(content[:keep])
    assert ": damaged (" in refusal(path)


def test_store_with_overwritten_pages_is_refused(path: Path) -> None:
    """Each page in use but the first is overwritten once."""
    content = filled(path, 50).read_bytes()
    for start in range(4096, len(content), 4096):
        path.write_bytes(content[:start] + b"\xa5" * 4096 + content[start + 4096 :])
        assert ": damaged (" in refusal(path)
    path.write_bytes(content)
    store = SqliteStore(path)
    assert len(store.open(NOW)) == 50
    store.close()


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("DELETE FROM clock", "the stored clock is missing or damaged"),
        ("UPDATE clock SET boot = NULL", "the stored clock is missing or damaged"),
        ("UPDATE clock SET boot_id = ''", "the stored clock is missing or damaged"),
        ("UPDATE clock SET wall = 9e999", "the stored clock is missing or damaged"),
        ("DROP TABLE clock", "no such table: clock"),
        ("DROP TABLE sessions", "no such table: sessions"),
        ("ALTER TABLE sessions RENAME COLUMN used TO last", "no such column: used"),
    ],
)
def test_store_without_clock_or_tables_is_refused(path: Path, statement: str, text: str) -> None:
    """Without the clock, the age of the sessions is unknown."""
    sql(filled(path), statement)
    assert refusal(path).startswith(f": damaged ({text}")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("grants = '['", "unreadable (JSONDecodeError)"),
        ("grants = CAST(x'ff' AS TEXT)", "unreadable (TypeError)"),
        ("label = CAST(x'ff' AS TEXT)", "a text is not UTF-8"),
        ("used = 9e999", "a time is not a finite number"),
        ("used = 1e12", "last use is in the future"),
        ("secret_digest = x''", "a digest has the wrong size"),
        ("bound_to = 'everywhere'", "unreadable (ValueError)"),
    ],
)
def test_bad_row_is_reported_and_skipped(path: Path, change: str, text: str) -> None:
    """It grants nothing and does not affect other sessions."""
    sql(filled(path), f"UPDATE sessions SET {change} WHERE id = '{session(1).id}'")
    store = SqliteStore(path)
    assert store.open(NOW) == [session(0), session(2)]
    assert store.damaged == (f"{path}: session '{session(1).id}' is skipped: {text}",)
    later = evolve(NOW, boot=1600.0)
    store.touch({session(0).id: 1500.0, session(1).id: 1500.0}, later)
    assert store.remove([session(1).id]) == 1
    store.close()
    assert store.open(later) == [session(0, used=1500.0), session(2)]
    assert store.damaged == ()
    store.close()


def test_unreadable_id_is_escaped(path: Path) -> None:
    """The line is printed to a terminal."""
    sql(filled(path), f"UPDATE sessions SET id = CAST(x'1b5bff' AS TEXT) WHERE id = '{session(1).id}'")
    store = SqliteStore(path)
    assert len(store.open(NOW)) == 2
    assert store.damaged == (f"{path}: session b'\\x1b[\\xff' is skipped: a text is not UTF-8",)
    store.close()


def test_full_disk_is_an_error_without_loss(path: Path) -> None:
    """Writes fail with 503 and succeed when there is room again."""
    store = SqliteStore(filled(path))
    store.open(NOW)
    db = store._connection()
    db.execute("PRAGMA max_page_count = 1")  # no room for another page
    with pytest.raises(StoreError) as caught:  # noqa: PT012 - one of them is the first too many
        for number in range(3, 100):
            store.insert(session(number))
    assert str(caught.value) == f"{path}: cannot be written (database or disk is full); free space or repair the disk"
    kept = {row[0] for row in db.execute("SELECT id FROM sessions")}
    db.execute("PRAGMA max_page_count = 100000")
    store.insert(session(1000))
    assert {row[0] for row in db.execute("SELECT id FROM sessions")} == kept | {session(1000).id}
    store.close()


def test_read_only_store_is_refused(path: Path) -> None:
    """Revocations could not be stored."""
    if os.getuid() != 0:
        not_here("only root can become another user")
    filled(path)
    path.parent.chmod(0o755)
    path.chmod(0o644)
    for parent in path.parents[1:3]:  # pytest's own directories are 0700
        parent.chmod(0o711)
    code = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from credgate.errors import StoreError
        from credgate.sessions.lease_clock import LeaseReading
        from credgate.sessions.sqlite import SqliteStore
        os.setgid(65534); os.setuid(65534)
        try:
            SqliteStore(Path(sys.argv[1])).open(LeaseReading("b", 1.0, 1.0))
        except StoreError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60)
    assert (
        done.stdout
        == f"{path} cannot be used (Permission denied); make the file and its directory writable for credgate's user\n"
    )


def test_file_that_becomes_read_only_is_an_error(path: Path) -> None:
    """The remedy is about permissions, not about damage."""
    store = SqliteStore(path)
    store.open(NOW)
    store._connection().execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError) as caught:
        store.insert(session())
    assert str(caught.value) == (
        f"{path}: cannot be written (attempt to write a readonly database); "
        "make the file and its directory writable for credgate's user"
    )
    store.close()


def test_file_system_without_write_ahead_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems would not make commits durable."""
    monkeypatch.setattr(SqliteStore, "_pragma", staticmethod(lambda db, pragma: 0 if "_" in pragma[:-8] else "delete"))
    monkeypatch.setattr(SqliteStore, "_recognise", lambda self, db: None)
    assert refusal(path) == " cannot have a write-ahead log on this file system; move it to a local one"


def test_closed_store_raises_an_error(path: Path) -> None:
    """A later call must not create a new file."""
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="is not open"):
        store.insert(session())
    assert not path.exists()
    store.close()


def test_interrupted_first_start_is_completed(path: Path) -> None:
    """The process was killed between creating the file and its tables."""
    path.touch()
    sql(path, "PRAGMA journal_mode = WAL")
    store = SqliteStore(path)
    assert store.open(NOW) == []
    store.close()


def test_converted_times_are_stored_with_their_reading(path: Path) -> None:
    """A crash in between must not convert them twice."""
    store = SqliteStore(filled(path, 1))
    later = LeaseReading("boot-2", 10.0, NOW.wall + 610.0)
    (first,) = store.open(later)
    store._connection().close()  # no orderly end
    again = SqliteStore(path)
    assert again.open(evolve(later, boot=20.0, wall=later.wall + 10.0)) == [first]
    again.close()


def test_insert_stores_the_reading_of_the_creation(path: Path) -> None:
    """Otherwise a reboot soon after would use an older reading."""
    store = SqliteStore(path)
    store.open(NOW)
    store.insert(session(created=NOW.boot + 100.0, used=NOW.boot + 100.0, created_wall=NOW.wall + 5000.0))
    store.close()
    (one,) = store.open(LeaseReading("boot-2", 10.0, NOW.wall + 5060.0))
    assert 10.0 - one.created == 60.0
    store.close()


def test_ten_thousand_sessions_load_within_two_seconds(path: Path) -> None:
    """That is a hundred times the default maximum."""
    store = SqliteStore(path)
    store.open(NOW)
    with store._transaction() as db:
        db.executemany(sqlite._INSERT, (rows.write(session(number)) for number in range(10_000)))
    store.close()
    start = perf_counter()
    assert len(store.open(NOW)) == 10_000
    assert perf_counter() - start < 2.0
    store.close()
