"""The append-only store of the ledger, one SQLite file: the coordinator has it, every party's node has its own copy.

    entry(seq, body)            one leaf of the tree each; no gap, no change, no deletion (triggers)
    checkpoint(size, note)      signed by the coordinator; stored before anybody sees it
    cosignature(size, name, …)  the first that each witness gave for a checkpoint
    blob(key, data)             bytes written in the same transaction as the entry that speaks of them

Not trusted: who can write to this file can at most be found out, when it is next opened (tree and accounts are built
anew from the entries and compared with the stored checkpoints) or at the next checkpoint a witness sees.

A transaction is durable when a call returns (`synchronous=FULL`, WAL). There is one writer at a time; a process that
finds entries of another first takes them in, through the same rules.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import IntegrityError, Refused, SumroomError, UsageError
from .keys import Identity
from .ledger import notes, proofs
from .ledger.decoding import Decoder
from .ledger.entries import Entry, encode
from .ledger.members import Members
from .ledger.notes import Checkpoint, VerifierKey
from .ledger.reducer import Accounts
from .ledger.statements import Audit
from .ledger.tree import Tree, leaf_hash
from .logfile import open_file, plain_errors

ROWS_AT_ONCE = 1000  # entries in memory while a ledger is read

Draft = Entry | Callable[[int], Entry]


class Logbook:
    """One ledger on disk, and its tree and accounts in memory. Safe to use from several threads and processes.

    Opening it is the self-check: raises IntegrityError naming the entry where file and rules disagree, UsageError where
    the file cannot be opened.
    """

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.RLock()
        self._tree, self._accounts, self._decoder = Tree(), Accounts(), Decoder()
        self.path = Path(path)
        self._db = open_file(self.path)
        try:
            with self._transaction():
                self._check_own_checkpoints()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file. Nothing is lost: every call that returned is durable already."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Logbook:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading: the state as of this process's last write or refresh -----------------------------------------------

    @property
    def size(self) -> int:
        """How many entries there are; the number of the next one."""
        return len(self._tree)

    @property
    def accounts(self) -> Accounts:
        """Who is in the room, what is spent and open. Read only."""
        return self._accounts

    def refresh(self) -> None:
        """Take in what another process wrote."""
        with self._transaction():
            pass

    def root(self, size: int | None = None) -> bytes:
        """The root (32 bytes) over the first `size` entries, all of them by default."""
        with self._lock:
            return self._tree.root(size)

    def entries(self, low: int = 0, high: int | None = None) -> list[bytes]:
        """The exact bytes of the entries low … high − 1. Raises UsageError beyond the end."""
        with self._lock:
            high = self.size if high is None else high
            if not 0 <= low <= high <= self.size:
                raise UsageError(f"no entries {low} to {high} among {self.size}")
            return [
                row[0]
                for row in self._rows("SELECT body FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq", low, high)
            ]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `old` entries begin the first `new` (RFC 9162 section 2.1.4)."""
        with self._lock:
            return self._tree.consistency(old, new)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The path of entry `index` to the root over the first `size` entries (RFC 9162 section 2.1.3)."""
        with self._lock:
            return self._tree.inclusion(index, size)

    def blob(self, key: str) -> bytes | None:
        """The bytes stored under `key`, None if there are none."""
        rows = self._rows("SELECT data FROM blob WHERE key = ?", key)
        return bytes(rows[0][0]) if rows else None

    def blobs(self, prefix: str = "") -> dict[str, bytes]:
        """Every blob whose key begins with `prefix`, in the order of the keys."""
        rows = self._rows("SELECT key, data FROM blob WHERE substr(key, 1, ?) = ? ORDER BY key", len(prefix), prefix)
        return {str(key): bytes(data) for key, data in rows}

    def checkpoint(self, size: int | None = None) -> str:
        """The note of this size, of the latest by default, with all its cosignatures. Raises UsageError if none."""
        with self._lock:
            rows = self._rows("SELECT size, note FROM checkpoint WHERE ? IN (size, -1) ORDER BY size DESC LIMIT 1",
                              -1 if size is None else size)  # fmt: skip
            if not rows:
                raise UsageError("no checkpoint yet" if size is None else f"no checkpoint of size {size}")
            return self._with_cosignatures(*rows[0])

    def checkpoints(self) -> list[tuple[int, str]]:
        """Every (size, note with all its cosignatures), smallest first."""
        with self._lock:
            return [
                (size, self._with_cosignatures(size, note))
                for size, note in self._rows("SELECT size, note FROM checkpoint ORDER BY size")
            ]

    def checkpoint_sizes(self, above: int = 0) -> list[int]:
        """The sizes above this one of which there is a checkpoint, smallest first."""
        return [size for (size,) in self._rows("SELECT size FROM checkpoint WHERE size > ? ORDER BY size", above)]

    def bare_checkpoint(self, size: int) -> str:
        """The note of this size with the ledger's own signatures only. Raises UsageError if there is none."""
        rows = self._rows("SELECT note FROM checkpoint WHERE size = ?", size)
        if not rows:
            raise UsageError(f"no checkpoint of size {size}")
        return str(rows[0][0])

    # --- writing -----------------------------------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft], *, blobs: Mapping[str, bytes] = MappingProxyType({})) -> int:
        """Write entries and blobs in one durable transaction; returns the number of the first entry.

        A draft is an entry that has its `seq`, or a function from `seq` to the entry: the function always gets the
        number that will be its own, even when another process wrote in between. Raises Refused or IntegrityError as the
        rules say, Refused for a blob that is there already; then nothing was written.
        """
        with self._transaction():
            first = self.size
            made = [draft(first + i) if callable(draft) else draft for i, draft in enumerate(drafts)]
            self._take((entry, encode(entry)) for entry in made)
            for key, data in blobs.items():
                if self.blob(key) is not None:
                    raise Refused(f"{key} is stored already and is never overwritten")
                self._db.execute("INSERT INTO blob VALUES(?, ?)", (key, data))
            return first

    def extend(self, old_size: int, entries: Sequence[bytes], expected_root: bytes) -> None:
        """Take over another's entries after the first `old_size`, if the rules allow them and they lead to this root.

        Raises Refused where this copy has another size, Refused or IntegrityError as the rules say, IntegrityError for
        another root; then nothing was written.
        """
        with self._transaction():
            self._grow(old_size, entries, expected_root)

    def follow(
        self,
        note: str,
        log: Sequence[VerifierKey],
        old_size: int,
        proof: Sequence[bytes],
        entries: Sequence[bytes],
        *,
        before_commit: Callable[[Accounts], None] = lambda _: None,
    ) -> Checkpoint:
        """A witness's duty before it cosigns, in one durable transaction; returns the checkpoint to cosign.

        1. the note does not go back behind what this copy holds
        2. the proof shows that it continues what this copy holds
        3. the rules allow every new entry, and the entries lead to the note's root
        4. the note is signed by the ledger's keys in force after them, and by nobody unknown; the first were `log`
        5. `before_commit` sees the accounts after them, and may raise
        6. entries and note are stored
        The caller adds its own rules, cosigns, stores the line with `add_cosignature`, and only then answers.
        Raises as `extend` does. After Refused, `size` says where the coordinator must begin.
        """
        checkpoint, _ = notes.split(note)
        with self._transaction():
            if checkpoint.size < self.size:
                raise Refused(f"a checkpoint of {checkpoint.size} entries; this copy holds {self.size} already")
            self._check_size(old_size)
            proofs.verify_consistency(old_size, checkpoint.size, proof, self._tree.root(), checkpoint.root)
            self._grow(old_size, entries, checkpoint.root)
            if self.size != checkpoint.size:
                raise IntegrityError(f"{self.size} entries for a checkpoint of {checkpoint.size}")
            if Members.of(self._accounts.genesis).log_keys() != tuple(log):
                raise IntegrityError(f"not the ledger of {log[0].name}, or not by its keys")
            notes.open_note(note, self._accounts.members.log_keys())
            before_commit(self._accounts)
            self._store_note(checkpoint.size, note)
        return checkpoint

    def sign_checkpoint(self, origin: str, identity: Identity) -> str:
        """The coordinator's note over all entries. Stored before it is returned; one size has one note, for ever.

        Its time is that of the last entry: then, this was the largest tree.
        """
        with self._transaction():
            members = self._accounts.members
            if origin != members.origin or notes.log_keys(origin, identity.public()) != members.log_keys():
                raise UsageError(
                    f"only the coordinator's keys in force sign the checkpoints of {members.origin}",
                    "files.signing_key must hold the keys that the room's last change of them names",
                )
            stored = self._rows("SELECT note FROM checkpoint WHERE size = ?", self.size)
            if stored:
                return str(stored[0][0])
            checkpoint = Checkpoint(origin, self.size, self._tree.root())
            signature = notes.sign(checkpoint, identity, self._accounts.time)
            return self._store_note(self.size, notes.assemble(checkpoint, signature))

    def add_cosignature(self, size: int, name: str, lines: str) -> None:
        """Keep a witness's lines (`notes.cosign`) for the checkpoint of this size; the caller has verified them.

        A second cosignature of the same witness is passed over, whatever it says: cosigning again at another time is no
        fault, and a checkpoint that was complete keeps its bytes for ever. Raises UsageError without a checkpoint.
        """
        self.add_cosignatures(size, {name: lines})

    def add_cosignatures(self, size: int, lines: Mapping[str, str]) -> None:
        """The same for several witnesses, in one transaction; in none where all of them are here already."""
        known = {name for (name,) in self._rows("SELECT name FROM cosignature WHERE size = ?", size)}
        if known.issuperset(lines):
            return
        with self._transaction():
            self.checkpoint(size)
            for name, text in lines.items():
                if not self._rows("SELECT 1 FROM cosignature WHERE size = ? AND name = ?", size, name):
                    self._db.execute("INSERT INTO cosignature VALUES(?, ?, ?)", (size, name, text))

    # --- how ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One writer: catch up, do, commit. On any failure file, tree and accounts are what they were before it did
        anything; what others wrote stays taken in.

        Most of it is taken in before the file is locked: who checks a thousand signatures must not keep others waiting.
        """
        with self._lock, plain_errors():
            self._catch_up()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._catch_up()
                with self._all_or_nothing():
                    yield
                    self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Of what tree and accounts take in: on any failure they are what they were."""
        leaves, stood = self._tree.mark(), self._accounts.mark()
        try:
            yield
        except BaseException:
            self._tree.truncate(leaves)
            self._accounts.roll_back(stood)
            raise
        self._accounts.settle()

    def _catch_up(self) -> None:
        query = "SELECT seq, body FROM entry WHERE seq >= ? ORDER BY seq LIMIT ?"
        with self._all_or_nothing():
            while rows := self._rows(query, self.size, ROWS_AT_ONCE):
                for seq, body in rows:
                    try:
                        self._apply(self._decoder.decode(body), body)
                    except SumroomError as exc:
                        raise IntegrityError(f"entry {seq} in the file breaks a rule: {exc.message}") from None

    def _take(self, entries: Iterable[tuple[Entry, bytes]]) -> None:
        """Run the rules over new entries and write them."""
        for entry, body in entries:
            seq = self.size
            self._apply(entry, body)
            self._db.execute("INSERT INTO entry VALUES(?, ?)", (seq, body))

    def _apply(self, entry: Entry, body: bytes) -> None:
        """Tree and accounts move on by one entry; whoever has the transaction takes back what fails."""
        self._accounts.apply(entry, body)
        if isinstance(entry, Audit) and bytes.fromhex(entry.root) != self._tree.root(entry.size):
            raise Refused(f"the verdict of {entry.auditor} is over another history of {entry.size} entries")
        self._tree.append(leaf_hash(body))

    def _grow(self, old_size: int, entries: Sequence[bytes], expected_root: bytes) -> None:
        self._check_size(old_size)
        self._take((self._decoder.decode(body), body) for body in entries)
        if self._tree.root() != expected_root:
            raise IntegrityError(f"the {len(entries)} entries after {old_size} do not lead to the root they came with")

    def _check_size(self, old_size: int) -> None:
        if old_size != self.size:
            raise Refused(f"growth from {old_size}; this copy holds {self.size} entries")

    def _store_note(self, size: int, note: str) -> str:
        stored = self._rows("SELECT note FROM checkpoint WHERE size = ?", size)
        if stored:
            return str(stored[0][0])
        self._db.execute("INSERT INTO checkpoint VALUES(?, ?)", (size, note))
        return note

    def _with_cosignatures(self, size: int, note: str) -> str:
        checkpoint, lines = notes.split(note)
        more = self._rows("SELECT line FROM cosignature WHERE size = ?", size)
        return notes.assemble(checkpoint, "".join(lines), [text for (text,) in more])

    def _check_own_checkpoints(self) -> None:
        last = 0
        for size, note in self._rows("SELECT size, note FROM checkpoint ORDER BY size"):
            checkpoint = notes.split(note)[0]
            if size > self.size:
                raise IntegrityError(f"entry {self.size} is missing: there is a checkpoint of size {size}")
            if checkpoint.size != size or checkpoint.root != self._tree.root(size):
                raise IntegrityError(f"entries {last} to {size - 1} are not those of the checkpoint of size {size}")
            last = size

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, plain_errors():
            return self._db.execute(query, values).fetchall()
