"""Reading a run file back: its records, traces and scenarios with their texts filled in."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from simlab.api import ApiSource
from simlab.errors import InputError, JournalMismatch, RunFileError, shortened
from simlab.files import is_stdout, standard_output, writing
from simlab.message import ChatMessage, Message, ToolCall, ToolResult
from simlab.record import SCHEMA
from simlab.runfile import RunFile
from simlab.schema import digest, read_json, to_json
from simlab.shelf import find, names
from simlab.trace import Event, Trace


class Reader:
    """A run file as its readers see it: everything by item, texts in place of digests."""

    def __init__(self, file: RunFile) -> None:
        self.file = file
        self.meta = {key: file.meta(key) for key in ("simlab", "recipe", "seed", "options", "models", "source", "n")}
        self.text = lru_cache(maxsize=4096)(lambda key: read_json(file.text(key)))

    def chat(self, keys: list[str]) -> list[ChatMessage]:
        """A chat from the keys it is stored as."""
        made = []
        for key in keys:
            role, text, *call_id = key.split(":")
            said = self.text(text)
            if isinstance(said, str):
                made.append(ChatMessage(role, said, call_id=call_id[0] if call_id else None))
            else:
                calls = tuple(ToolCall(**call) for call in said["calls"])
                made.append(ChatMessage(role, said["text"], calls, call_id[0] if call_id else None))
        return made

    def traces(self, item: int) -> list[Trace]:
        """The traces of an item, in the order they were begun."""
        rows = self.file.query("SELECT body FROM trace WHERE item = ? ORDER BY n", item)
        return [self._trace(read_json(row[0])) for row in rows]

    def _trace(self, body: Mapping[str, Any]) -> Trace:
        trace = Trace(
            tuple(body["cast"]), tuple(body.get("services", ())), end=body["end"], detail=body.get("detail", "")
        )
        for row in body["events"]:
            said = self.text(row["said"])
            parts: dict[str, Any] = {"text": said}
            if not isinstance(said, str):
                parts = {
                    "text": said["text"],
                    "calls": tuple(ToolCall(**call) for call in said["calls"]),
                    "results": tuple(ToolResult(**result) for result in said["results"]),
                }
            message = Message(row["from"], notes=row.get("notes", {}), **parts)
            trace.events.append(Event(row["at"], message, tuple(row["to"])))
        return trace

    def records(self, *, undecided: bool = True) -> "Iterator[StoredRecord]":
        """Kept records, ordered by item as numbers; those the second pass has not reached yet count as kept."""
        kept = "(verdict = 'kept' OR verdict IS NULL)" if undecided else "verdict = 'kept'"
        items = self.file.query(f"SELECT item, n, type, body FROM record WHERE {kept} ORDER BY item, n")  # noqa: S608
        for item, n, kind, body in items:
            yield StoredRecord(self, item, n, kind, read_json(body))

    def overview(self) -> Iterator[dict[str, Any]]:
        """What there is to say of each finished episode at a glance: item, outcome, how its first trace ended, lines.

        The outcome of an episode that was judged is its verdict. Those of a scenario name it.
        """
        rows = self.file.query(
            "SELECT e.item, outcome, json_extract(t.body, '$.id'), json_type(r.body, '$.meta.verdict.success'),"
            " json_extract(r.body, '$.meta.verdict.error')"
            " FROM episode e LEFT JOIN record r ON r.item = e.item AND r.n = 0"
            " LEFT JOIN text t ON t.digest = json_extract(r.body, '$.scenario') ORDER BY e.item"
        )
        for item, outcome, scenario, success, error in rows:
            traces = self.traces(item)
            first = traces[0].events[0].text if traces and traces[0].events else ""
            end, lines = (traces[0].end, len(traces[0].events)) if traces else ("", 0)
            if success in ("true", "false"):
                outcome = "success" if success == "true" else f"failure: {error}" if error else "failure"
            row = {"item": item, "outcome": outcome, "end": end, "lines": lines, "first line": shortened(first, 70)}
            yield {**row, "scenario": scenario} if scenario else row

    def types(self) -> list[str]:
        """The types of record the file holds."""
        return [row[0] for row in self.file.query("SELECT DISTINCT type FROM record ORDER BY type")]

    def asked(self, item: int) -> list[dict[str, Any]]:
        """How an item's texts came about: one line per ask, by position."""
        rows = self.file.query("SELECT path, asked, answered FROM journal WHERE item = ?", item)
        made = []
        for path, asked, answered in sorted(rows, key=lambda row: position(row[0])):
            request = read_json(asked)
            made.append(
                {
                    "path": path,
                    "role": request["role"],
                    "step": request["step"],
                    "request": digest(asked),
                    "reply": digest(answered),
                }
            )
        return made


@dataclass(frozen=True)
class Exported:
    """How much an export holds of its run."""

    records: int
    finished: int
    n: int
    undecided: int
    failed: int = 0


def export_run(path: Path | str, name: str, target: Path | str, *, keep_failed: bool = False) -> Exported:
    """Write the records of a run file in a format; raises InputError when the format does not fit them.

    Records whose verdict is failure are in the `simlab` format, and in those for training only when asked for.
    """
    write = find("exports", name)
    file = RunFile.open(path)
    try:
        reader = Reader(file)
        types = reader.types()
        formats = {one: find_fits(one) for one in names("exports")}
        must_fit(name.replace("_", "-"), types, formats)
        count = failed = 0
        with standard_output() if is_stdout(target) else writing(target) as out:
            for record in reader.records():
                if record.failed and not (keep_failed or name == "simlab"):
                    failed += 1
                    continue
                out.write(to_json(write(record)).encode() + b"\n")
                count += 1
        finished = file.one("SELECT count(*) FROM episode")
        undecided = file.one("SELECT count(*) FROM record WHERE verdict IS NULL")
        return Exported(count, finished, reader.meta["n"], undecided, failed)
    except JournalMismatch as damage:
        raise RunFileError(f"{path}: {damage}") from None
    finally:
        file.close()


def find_fits(name: str) -> tuple[str, ...]:
    """The types of record a format is for."""
    fits: tuple[str, ...] = sys.modules[find("exports", name).__module__].FITS
    return fits


def position(path: str) -> tuple[Any, ...]:
    """The key by which journal paths sort: numbers as numbers."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.split("."))


def stored_apis(file: RunFile) -> list[ApiSource]:
    """The documents a run file holds."""
    return [ApiSource(**one) for one in (file.meta("seeds") or {}).get("apis", ())]


@dataclass(frozen=True)
class StoredRecord:
    """One record of a run file; `body` holds its fields with chats by key."""

    reader: Reader
    item: int
    n: int
    type: str
    body: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Unique within its run."""
        return f"{self.reader.meta['recipe']}-{self.item}" + (f".{self.n}" if self.n else "")

    def chat(self, field: str) -> list[ChatMessage]:
        """One of the record's chats."""
        return self.reader.chat(self.body[field])

    def trained(self) -> list[ChatMessage]:
        """The messages up to the assistant's last, which is where a training example ends."""
        chat = self.chat("messages")
        while chat and chat[-1].role != "assistant":
            chat.pop()
        return chat

    @property
    def failed(self) -> bool:
        """Whether the record has a verdict and it is not success."""
        return self.body.get("meta", {}).get("verdict", {}).get("success") is False

    def tools(self) -> list[dict[str, Any]]:
        """The tools of the record, as functions with JSON Schemas."""
        return [self.reader.text(key.split(":")[1]) for key in self.body.get("tools", ())]

    def full(self) -> dict[str, Any]:
        """The record with everything that led to it."""
        meta = self.reader.meta
        made: dict[str, Any] = {"schema": SCHEMA, "id": self.id, "type": self.type}
        for field, value in self.body.items():
            if field == "scenario":
                made[field] = self.reader.text(value)
            elif field == "trace":
                made[field] = trace_json(self.reader.traces(self.item)[value])
            elif field == "tools":
                made[field] = self.tools()
            elif isinstance(value, list):
                made[field] = [openai_message(message) for message in self.chat(field)]
            else:
                made[field] = value
        made["provenance"] = {
            "simlab": meta["simlab"],
            "recipe": meta["recipe"],
            "source": meta["source"],
            "seed": meta["seed"],
            "item": self.item,
            "options": meta["options"],
            "models": {role: model["name"] for role, model in meta["models"].items()},
            "steps": self.reader.asked(self.item),
        }
        return made


def trace_json(trace: Trace) -> dict[str, Any]:
    """A trace for people and files: texts in place."""
    events = []
    for event in trace.events:
        row: dict[str, Any] = {
            "at": event.time,
            "from": event.sender,
            "to": list(event.heard_by),
            "text": event.text,
        }
        if event.message.calls:
            row["calls"] = [call.as_json() for call in event.message.calls]
        if event.message.results:
            row["results"] = [result.as_json() for result in event.message.results]
        if event.message.notes:
            row["notes"] = dict(event.message.notes)
        events.append(row)
    made: dict[str, Any] = {"cast": list(trace.cast), "events": events, "end": trace.end}
    return {**made, "detail": trace.detail} if trace.detail else made


def openai_message(message: ChatMessage) -> dict[str, Any]:
    """A message in the chat-completions dialect: arguments of calls are JSON strings."""
    made: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.calls:
        made["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": to_json(c.arguments)}}
            for c in message.calls
        ]
    if message.call_id is not None:
        made["tool_call_id"] = message.call_id
    return made


def trl_message(message: ChatMessage, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A message in TRL's dialect: arguments of calls are objects, and a tool's message carries its name."""
    made: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.role == "tool" and message.call_id is not None:
        made["name"] = (names or {}).get(message.call_id, message.call_id)
    if message.calls:
        made["tool_calls"] = [
            {"type": "function", "function": {"name": c.name, "arguments": dict(c.arguments)}} for c in message.calls
        ]
    return made


def fitting(types: list[str], exports: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The formats that fit every one of the types of record."""
    return [name for name, fits in exports.items() if set(types) <= set(fits)]


def must_fit(name: str, types: list[str], exports: Mapping[str, tuple[str, ...]]) -> None:
    """Raise InputError, naming the formats that fit, when one does not."""
    if not set(types) <= set(exports[name]):
        held = ", ".join(types)
        raise InputError(
            f"format {name!r} does not fit {held} records; those that do: {', '.join(fitting(types, exports))}"
        )
