"""A run is one file: a SQLite database (write-ahead log) with one writer, readable while it runs.

Rows are written first in, first out, in groups, and nobody waits for a commit; so any committed prefix is
consistent and a `kill -9` costs at most the calls in flight and the rows of the last 50 ms. Texts are stored
once, by digest. The tables are described in docs/run-file.md.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple
from zlib import crc32

from simlab.errors import JournalMismatch, RunFileError, Stopped, shortened
from simlab.journal import Entry
from simlab.model import Reply
from simlab.schema import digest, read_json, to_ordered_json

APPLICATION_ID = 0x53694C62  # "SiLb"
VERSION = 2  # 1 had other hashes in sketches, other checksums, and the journal in order of its positions
GROUP = 1024  # rows; a group is committed when it is full or 50 ms old
REMEMBERED = 50_000  # texts known to be stored already
SHARED = -1  # the item under which work shared by all items is journaled

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE text (digest TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE journal (
  item INTEGER NOT NULL, path TEXT NOT NULL, door TEXT NOT NULL, name TEXT NOT NULL,
  asked TEXT NOT NULL, answered TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, sum TEXT NOT NULL,
  UNIQUE (item, path));
CREATE TABLE episode (item INTEGER PRIMARY KEY, outcome TEXT NOT NULL, measures TEXT NOT NULL, code TEXT NOT NULL);
CREATE TABLE trace (item INTEGER NOT NULL, n INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (item, n)) WITHOUT ROWID;
CREATE TABLE record (
  item INTEGER NOT NULL, n INTEGER NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL, sketch BLOB, verdict TEXT,
  PRIMARY KEY (item, n)) WITHOUT ROWID;
CREATE TABLE dropped (
  item INTEGER NOT NULL, n INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
  PRIMARY KEY (item, n)) WITHOUT ROWID;
CREATE TABLE nearby (hash INTEGER NOT NULL, item INTEGER NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (hash, item, n)) WITHOUT ROWID;
CREATE TABLE session (
  id INTEGER PRIMARY KEY, calls INTEGER NOT NULL, failed INTEGER NOT NULL, seconds REAL NOT NULL, ended TEXT NOT NULL);
"""

# Texts are found by their digest once the first session has ended. Until then there is no index: digests come in any
# order, so that each commit would write a page of it for nearly every text. Without it a text may be there twice.
_INDEX = "CREATE UNIQUE INDEX IF NOT EXISTS text_by_digest ON text (digest)"
_TWINS = "DELETE FROM text WHERE rowid NOT IN (SELECT min(rowid) FROM text GROUP BY digest)"

# What is written, in the order in which a group is: each statement once, with all of its rows.
_WRITES = {
    "forget": "DELETE FROM journal WHERE item = ?",
    "meta": "INSERT OR REPLACE INTO meta VALUES (?, ?)",
    "text": "INSERT OR IGNORE INTO text VALUES (?, ?)",
    "journal": "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "trace": "INSERT INTO trace VALUES (?, ?, ?)",
    "record": "INSERT INTO record VALUES (?, ?, ?, ?, ?, NULL)",
    "dropped": "INSERT INTO dropped VALUES (?, ?, ?, ?)",
    "episode": "INSERT INTO episode VALUES (?, ?, ?, ?)",
    "verdict": "UPDATE record SET verdict = ? WHERE item = ? AND n = ?",
    "nearby": "INSERT INTO nearby VALUES (?, ?, ?)",
    "session": "INSERT INTO session VALUES (NULL, ?, ?, ?, ?)",
}


class EpisodeRows(NamedTuple):
    """What a finished episode leaves behind, in the form that is stored and compared."""

    outcome: str
    measures: str
    traces: list[str]
    records: list[tuple[str, str, bytes | None]]  # type, body, sketch of the text it must be distinct by
    drops: list[tuple[str, str]]  # reason, detail
    texts: Mapping[str, str]


@contextmanager
def clear_errors(path: Path | str) -> Iterator[None]:
    """Turn what SQLite and the system say about a run file into one clear line; Stopped for a full disk."""
    try:
        yield
    except sqlite3.OperationalError as error:
        said = str(error)
        if "full" in said:
            raise Stopped(f"{path}: the disk is full; what was committed is kept") from None
        if "readonly" in said or "unable to open" in said:
            said = "cannot be opened here: SQLite has to make a file beside it, and cannot"
        raise RunFileError(f"{path}: {said}") from None
    except sqlite3.DatabaseError as error:
        raise RunFileError(f"{path}: not a run file of simlab, or a corrupt one ({error})") from None
    except OSError as error:
        folder = Path(path).parent
        said = (error.strerror or str(error)) if folder.is_dir() else f"there is no folder {folder}"
        raise RunFileError(f"{path}: {said}") from None


class RunFile:
    """An open run file; `create` and `open_for_writing` hold its lock until it is closed."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: IO[str] | None) -> None:
        self.path = path
        self.version = VERSION
        self.flushes = 0
        self._db = connection
        self._lock = lock
        self._pending: dict[str, list[tuple[Any, ...]]] = {what: [] for what in _WRITES}
        self._count = 0  # rows pending
        self._stored: set[str] = set()  # digests of texts that need not be stored again
        self._indexed = False  # whether texts are found by their digest
        self._rows: dict[str, int] = {}  # else where those up to the last row read are
        self._last_row = 0
        self._closed = False

    # ── opening and closing ────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def create(cls, path: Path | str, meta: Mapping[str, Any]) -> "RunFile":
        """A new run file; it appears complete with its configuration or not at all."""
        target = Path(path)
        with clear_errors(target):
            lock = _lock(target)
            fresh = target.with_name(f".{target.name}.new")
            fresh.unlink(missing_ok=True)
            try:
                db = sqlite3.connect(fresh, isolation_level=None)
                db.executescript(f"BEGIN; {_TABLES}")  # in one transaction, or the disk is waited for at each table
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                db.execute(f"PRAGMA user_version={VERSION}")
                db.executemany("INSERT INTO meta VALUES (?, ?)", [(k, to_ordered_json(v)) for k, v in meta.items()])
                db.execute("COMMIT")
                db.close()
                os.replace(fresh, target)
            except BaseException:
                fresh.unlink(missing_ok=True)
                _unlock(target, lock)
                raise
            return cls._opened(target, lock)

    @classmethod
    def open_for_writing(cls, path: Path | str) -> "RunFile":
        """An existing run file, to be resumed; raises RunFileError when another process is writing it."""
        target = Path(path)
        with clear_errors(target):
            _check_is_ours(target)
            lock = _lock(target)
            try:
                return cls._opened(target, lock)
            except BaseException:
                _unlock(target, lock)
                raise

    @classmethod
    def open(cls, path: Path | str) -> "RunFile":
        """An existing run file, to be read; works while another process writes it, and where nothing can be written."""
        target = Path(path)
        with clear_errors(target):
            _check_is_ours(target)
            try:
                return cls._opened(target, None)
            except sqlite3.OperationalError:
                log = target.with_name(f"{target.name}-wal")
                if os.access(target.parent, os.W_OK) or (log.exists() and log.stat().st_size):
                    raise
            # SQLite makes files beside the database, also to read it, unless it is told that nobody will change it
            return cls._opened(target, None, unchanging=True)

    @classmethod
    def _opened(cls, path: Path, lock: IO[str] | None, *, unchanging: bool = False) -> "RunFile":
        writable = lock is not None
        where = f"{path.absolute().as_uri()}?immutable=1" if unchanging else str(path)
        db = sqlite3.connect(where, isolation_level=None, timeout=30, uri=unchanging)
        db.execute("PRAGMA query_only=0" if writable else "PRAGMA query_only=1")
        made = cls(path, db, lock)
        made.version = db.execute("PRAGMA user_version").fetchone()[0]
        if made.version > VERSION:
            raise RunFileError(f"{path}: written by a newer simlab (file version {made.version}, this knows {VERSION})")
        if writable:
            if made.version < VERSION:
                raise RunFileError(f"{path}: written by an older simlab; it can be shown, exported and replayed only")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA cache_size=-8000")
        db.execute("SELECT count(*) FROM meta").fetchone()
        made._indexed = made._has_index()
        return made

    def close(self) -> None:
        """Commit what is pending, have texts found by their digest, and let go of the file and its lock."""
        if self._closed:
            return
        self._closed = True
        with clear_errors(self.path):
            try:
                self.flush()
                if self.flushes and not self._indexed:
                    with suppress(sqlite3.OperationalError):  # a full disk: the file is whole without it
                        self._index()
            finally:
                self._db.close()
                if self._lock is not None:
                    _unlock(self.path, self._lock)
                    self._lock = None

    # ── writing ────────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, what: str, row: tuple[Any, ...]) -> None:
        self._pending[what].append(row)
        self._count += 1

    def put_texts(self, texts: Mapping[str, str]) -> None:
        """Store texts by digest, each once."""
        if len(self._stored) > REMEMBERED:
            self._stored.clear()
        stored = self._stored
        for key in [key for key in texts if key not in stored]:
            stored.add(key)
            self._put("text", (key, texts[key]))

    def put_entry(self, item: int, entry: Entry, texts: Mapping[str, str], reply: Reply, *, name: str) -> None:
        """Journal one reply of a model, or one turn of an agent under test."""
        self.put_texts(texts)
        path, asked, answered, door = entry
        row = (item, path, door, name, asked, answered, *reply.usage)
        self._put("journal", (*row, _sum(row)))
        if self._count >= GROUP:
            self.flush()

    def put_episode(self, item: int, rows: EpisodeRows, code: str) -> None:
        """Store a finished episode, all of it in one commit."""
        self.put_texts(rows.texts)
        for n, body in enumerate(rows.traces):
            self._put("trace", (item, n, body))
        for n, (kind, body, sketch) in enumerate(rows.records):
            self._put("record", (item, n, kind, body, sketch))
        for n, (reason, detail) in enumerate(rows.drops):
            self._put("dropped", (item, n, reason, detail))
        self._put("episode", (item, rows.outcome, rows.measures, code))
        if self._count >= GROUP:
            self.flush()

    def put_verdict(self, item: int, n: int, verdict: str, index: Iterable[int]) -> None:
        """Store what the second pass decided of a record, and index it when it is kept."""
        self._put("verdict", (verdict, item, n))
        nearby = [(value, item, n) for value in index]
        self._pending["nearby"] += nearby
        self._count += len(nearby)

    def put_session(self, calls: int, failed: int, seconds: float, ended: str) -> None:
        """Store how one session of the run went; kept apart from what exports derive from."""
        self._put("session", (calls, failed, seconds, ended))

    def put_meta(self, key: str, value: Any) -> None:
        """Replace one value of the configuration."""
        self._put("meta", (key, to_ordered_json(value)))

    def forget(self, item: int) -> None:
        """Remove the journal of an unfinished item, which then starts again."""
        self._put("forget", (item,))

    def flush(self) -> None:
        """Commit what is pending, as one transaction."""
        if not self._count:
            return
        with clear_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for what, rows in self._pending.items():
                    if rows:
                        self._db.executemany(_WRITES[what], rows)
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
            for rows in self._pending.values():
                rows.clear()
            self._count = 0
            self.flushes += 1

    def _index(self) -> None:
        try:
            self._db.execute(_INDEX)
        except sqlite3.IntegrityError:
            self._db.execute(_TWINS)
            self._db.execute(_INDEX)
        self._indexed = True

    # ── reading ────────────────────────────────────────────────────────────────────────────────────────────

    def query(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT, one at a time."""
        with clear_errors(self.path):
            yield from self._db.execute(sql, values)

    def one(self, sql: str, *values: Any) -> Any:
        """The single value of a SELECT, None where there is none."""
        row = self.row(sql, *values)
        return None if row is None else row[0]

    def row(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """The first row of a SELECT, None where there is none."""
        with clear_errors(self.path):
            found: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
        return found

    def meta(self, key: str) -> Any:
        """A value of the configuration, None when there is none."""
        value = self.one("SELECT value FROM meta WHERE key = ?", key)
        return None if value is None else read_json(value)

    def text(self, key: str) -> str:
        """A stored text; raises JournalMismatch when it is gone or no longer what was stored."""
        body = None if self._indexed else self.one("SELECT body FROM text WHERE rowid = ?", self._row_of(key))
        if body is None and (self._indexed or self._has_index()):  # perhaps its session has just ended
            self._indexed = True
            body = self.one("SELECT body FROM text WHERE digest = ?", key)
        if body is None:
            raise JournalMismatch(f"the text {key} is missing from the file")
        if digest(body) != key:
            raise JournalMismatch(f"the text {key} was changed after it was stored: {shortened(body, 100)}")
        return str(body)

    def _has_index(self) -> bool:
        return bool(self.one("SELECT count(*) FROM pragma_index_list('text')"))

    def _row_of(self, key: str) -> int | None:
        """Where a text is, in the file of a session that goes on or was killed."""
        if key not in self._rows:
            for known, row in self.query(
                "SELECT digest, rowid FROM text WHERE rowid > ? ORDER BY rowid", self._last_row
            ):
                self._rows.setdefault(known, row)
                self._last_row = row
        return self._rows.get(key)

    def entries(self, item: int, prefix: str = "") -> dict[str, Entry]:
        """The journal of an item by path; raises JournalMismatch naming a row that was changed."""
        rows = self.query(
            "SELECT item, path, door, name, asked, answered, prompt_tokens, completion_tokens, sum"
            " FROM journal WHERE item = ? AND path >= ? AND path < ?",
            *(item, prefix, prefix + "\U0010ffff"),
        )
        sum_of = _sum if self.version > 1 else _sum_of_version_1
        made: dict[str, Entry] = {}
        for *row, checksum in list(rows):  # whole, as a wrong row ends this and would leave the rest open
            if sum_of(tuple(row)) != checksum:
                raise JournalMismatch(
                    f"journal entry {row[1]} was changed after it was stored (its checksum differs);"
                    f" the file now says {shortened(row[5], 100)}"
                )
            made[row[1]] = Entry(row[1], row[4], row[5], row[2])
        return made

    def episode(self, item: int) -> EpisodeRows | None:
        """What is stored of a finished episode, texts apart; None when it has not finished."""
        row = self.row("SELECT outcome, measures FROM episode WHERE item = ?", item)
        if row is None:
            return None
        return EpisodeRows(
            outcome=row[0],
            measures=row[1],
            traces=[r[0] for r in self.query("SELECT body FROM trace WHERE item = ? ORDER BY n", item)],
            records=list(self.query("SELECT type, body, sketch FROM record WHERE item = ? ORDER BY n", item)),
            drops=list(self.query("SELECT reason, detail FROM dropped WHERE item = ? ORDER BY n", item)),
            texts={},
        )

    def finished(self) -> Iterator[int]:
        """The items that have finished, ascending."""
        return (row[0] for row in self.query("SELECT item FROM episode ORDER BY item"))


def _sum(row: tuple[Any, ...]) -> str:
    return f"{crc32(_joined(row).encode('utf-8', 'surrogatepass')):08x}"


def _sum_of_version_1(row: tuple[Any, ...]) -> str:
    return digest(_joined(row))


def _joined(row: tuple[Any, ...]) -> str:
    return "\x1f".join(map(str, row))


def _check_is_ours(path: Path) -> None:
    if not path.exists():
        raise RunFileError(f"{path}: no such run file")
    if path.is_dir():
        raise RunFileError(f"{path}: is a folder, not a run file")
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        raise RunFileError(f"{path}: not a run file of simlab (it is no SQLite database)")
    if int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise RunFileError(f"{path}: not a run file of simlab (another program's SQLite database)")


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _lock(path: Path) -> IO[str]:
    """Hold the right to write; the lock goes with the process, however it ends."""
    while True:
        file = _lock_path(path).open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise RunFileError(f"{path}: another simlab process is writing this run (process {holder})") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(_lock_path(path))):
                break
        file.close()  # the file was removed by its last holder between our two looks
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _unlock(path: Path, file: IO[str]) -> None:
    _lock_path(path).unlink(missing_ok=True)
    file.close()
