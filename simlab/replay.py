"""Replay: the same code against the recorded replies, strictly.

No model is opened and no network is used. An episode is re-run as in `run`, but a request that differs from
the recorded one, a reply that is missing, a journal entry that is left over, and a result that is not the
stored one are each a difference, named by its first differing field.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import anyio

from simlab.errors import InputError, JournalMismatch
from simlab.journal import Entry, Journal, Seed
from simlab.lab import Lab, Once, play
from simlab.model import CallFailed, Reply, Request, Sampling
from simlab.run import find_recipe, recipe_options, seeds_from, source_digest
from simlab.runfile import SHARED, EpisodeRows, RunFile
from simlab.schema import read_json, to_json


@dataclass(frozen=True)
class Replayed:
    """What came of replaying one item: nothing in `difference` means that it was reproduced."""

    item: int
    asked: int
    difference: str = ""


class NotRecorded(CallFailed):
    """A replay was asked for a reply that its file does not hold."""


class Absent:
    """Stands in for a recorded model: it has a name and traits, and answers nothing."""

    def __init__(self, name: str, small: bool, sampling: Sampling) -> None:
        self.name, self.small, self.sampling = name, small, sampling

    async def reply(self, request: Request) -> Reply:
        """Raise: a replay asks nothing."""
        raise NotRecorded(f"a replay does not ask {self.name}", retry=False)

    async def aclose(self) -> None:
        """Nothing to close."""


class Replay:
    """Replays items of one run file; `recipe` names the code of a recipe that is not built in."""

    def __init__(self, file: RunFile, recipe: str | None = None) -> None:
        self._file = file
        self._name = file.meta("recipe")
        if ":" in self._name and recipe is None:  # a stranger's file is data: it does not say what to import
            raise InputError(
                f"{file.path} was made by {self._name}, which is not built in; name its code: --recipe {self._name}"
            )
        self._recipe = find_recipe(recipe or self._name)
        self.other_code = file.meta("source") != source_digest(self._recipe)
        self._seeds = seeds_from(file.meta("seeds"))
        self._options = tupled(file.meta("options"))
        self._seed = Seed(file.meta("seed"), self._name)
        self._models = {
            role: Absent(model["name"], model["small"], Sampling(**tupled(model.get("sampling", {}))))
            for role, model in file.meta("models").items()
        }
        self._once = Once(self._shared)
        self._text = lru_cache(maxsize=4096)(file.text)  # each use is checked, most texts are used again soon
        if foreign := self._options.keys() - recipe_options(self._recipe):
            raise InputError(f"{file.path}: was made with option {min(foreign)!r}, which {recipe} does not take")

    def _shared(self, key: str) -> Journal:
        return self._journal(SHARED, f"{key}/")

    def _journal(self, item: int, prefix: str = "") -> Journal:
        """A sealed journal of what is recorded, the texts that it refers to seen to be as they were."""
        recorded = self._file.entries(item, prefix)
        for entry in recorded.values():
            for key in asked_texts(entry):
                self._text(key)
        return Journal(item, seed=self._seed, recorded=recorded, read=self._text, sealed=True)

    async def item(self, item: int) -> Replayed:
        """Replay one item."""
        stored = self._file.episode(item)
        if stored is None:
            return Replayed(item, 0, "has not finished: there is nothing to replay it against")
        journal = None
        try:
            journal = self._journal(item)
            episode = await play(
                self._recipe, Lab(journal.root, self._models, once=self._once), self._seeds, self._options
            )
            rows = episode.rows()
            for key in rows.texts:
                self._text(key)
        except JournalMismatch as mismatch:
            return Replayed(item, journal.asked if journal else 0, str(mismatch))
        if journal.left_over:
            entry = journal.left_over[0]
            return Replayed(item, journal.asked, f"journal entry {entry.path}: recorded, but nothing asked for it")
        if self._file.version < 2:  # its sketches are of another kind, and say nothing that its records do not
            stored, rows = without_sketches(stored), without_sketches(rows)
        return Replayed(item, journal.asked, first_difference(stored, rows) or "")

    async def all(self) -> "list[Replayed]":
        """Replay every finished item, in order; the last line may be about work shared by all items."""
        return [result async for result in self]

    async def __aiter__(self) -> Any:
        """Replay every finished item, one after the other."""
        clean = True
        for item in list(self._file.finished()):
            result = await self.item(item)
            clean = clean and not result.difference
            yield result
            await anyio.lowlevel.checkpoint()
        if clean and (left := self._shared_left_over()):
            yield Replayed(SHARED, 0, left)

    def _shared_left_over(self) -> str:
        """Entries of shared work that no item used."""
        try:
            entries = self._file.entries(SHARED)
        except JournalMismatch as mismatch:
            return str(mismatch)
        for path in entries:
            key = path.rpartition("/")[0]
            journal = self._once.journals.get(key)
            if journal is None or any(entry.path == path for entry in journal.left_over):
                return f"journal entry {path}: recorded, but nothing asked for it"
        return ""


def asked_texts(entry: Entry) -> list[str]:
    """The digests that a stored request refers to: of its messages, its schema and its tools."""
    try:
        asked = read_json(entry.asked)
        schema = [asked["schema"]] if "schema" in asked else []
        return [*(key.split(":")[1] for key in asked["messages"]), *schema, *asked.get("tools", ())]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise JournalMismatch(f"journal entry {entry.path}: the stored request cannot be read ({error})") from None


def tupled(options: dict[str, Any]) -> dict[str, Any]:
    """Options as a recipe takes them: JSON has lists where Python had tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


def without_sketches(rows: EpisodeRows) -> EpisodeRows:
    """An episode's rows without what its records are compared by."""
    return rows._replace(records=[(kind, body, None) for kind, body, _ in rows.records])


def first_difference(stored: EpisodeRows, again: EpisodeRows) -> str | None:
    """The first field in which an episode's result is not the stored one, with both values."""
    if stored.outcome != again.outcome:
        return f"outcome: stored {stored.outcome!r}, replayed {again.outcome!r}"
    pairs: list[tuple[str, Sequence[Any], Sequence[Any]]] = [
        ("trace", stored.traces, again.traces),
        ("record", [r[1] for r in stored.records], [r[1] for r in again.records]),
        ("record type", [r[0] for r in stored.records], [r[0] for r in again.records]),
        ("record sketch", [(r[2] or b"").hex() for r in stored.records], [(r[2] or b"").hex() for r in again.records]),
        ("drop", [to_json(d) for d in stored.drops], [to_json(d) for d in again.drops]),
        ("measures", [stored.measures], [again.measures]),
    ]
    for what, then, now in pairs:
        if len(then) != len(now):
            return f"{what}s: stored {len(then)}, replayed {len(now)}"
        for n, (a, b) in enumerate(zip(then, now, strict=True)):
            if a != b:
                return f"{what} {n}: {json_difference(a, b)}"
    return None


def json_difference(stored: str, again: str) -> str:
    """Where two JSON texts first differ: the path and both values."""
    try:
        then, now = read_json(stored), read_json(again)
    except ValueError:
        return f"stored {stored[:80]!r}, replayed {again[:80]!r}"
    return next(_differences(then, now, ""), f"stored {stored[:80]!r}, replayed {again[:80]!r}")


def _differences(then: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now}):
            yield from _differences(then.get(key), now.get(key), f"{path}/{key}")
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for i, (a, b) in enumerate(zip(then, now, strict=True)):
            yield from _differences(a, b, f"{path}/{i}")
    elif then != now:
        yield f"{path or '/'}: stored {to_json(then)[:120]}, replayed {to_json(now)[:120]}"
