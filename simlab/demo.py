"""The demo: a small corpus of every product, on the embedded model, and a sample of each to read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from simlab import console
from simlab.api import read_api
from simlab.errors import InputError
from simlab.files import resource
from simlab.lab import Seeds
from simlab.limits import Budget
from simlab.models.embedded import missing, pull
from simlab.runfile import RunFile
from simlab.stored import Reader, StoredRecord

PRODUCTS = {  # recipe -> items, options
    "dialogue": (6, {"rounds": (3, 4)}),
    "pink_elephants": (8, {"rounds": (2, 3)}),
    "tool_dialogue": (10, {"kinds": "chain,ask,clarify,do,abstain"}),
}


def show_demo(
    folder: Path, seed: int, model: list[str] | None, cast: Callable[..., Any], play: Callable[..., Any], *, quiet: bool
) -> None:
    """Run each product into its own file in the folder, and print what came of it."""
    if not model:
        _fetch()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot make this folder: {error.strerror}") from None
    files = []
    for recipe, (n, options) in PRODUCTS.items():
        file = folder / f"{recipe}.simlab"
        console.out.rule(f"[bold]{recipe}", align="left")
        play(file, recipe, options, _seeds(recipe), cast(model or ["embedded"], None, None), n, seed=seed,
             budget=Budget(), concurrency=4, quiet=quiet)  # fmt: skip
        _sample(file)
        files.append(file)
    console.out.rule("[bold]what to type next", align="left")
    console.out.print(f"  simlab show {files[0]} 0", markup=False, soft_wrap=True)
    console.out.print(f"  simlab report {files[1]}", markup=False, soft_wrap=True)
    console.out.print(f"  simlab verify {files[2]}", markup=False, soft_wrap=True)
    console.out.print(f"  simlab replay {files[0]}", markup=False, soft_wrap=True)
    console.out.print(f"  simlab export {files[1]} --format trl-dpo --out pairs.jsonl", markup=False, soft_wrap=True)
    console.out.print(
        "  simlab run dialogue --topics 'tides,owls' -n 20 --out talks.simlab", markup=False, soft_wrap=True
    )


def _seeds(recipe: str) -> Seeds:
    """Our own topics and pairs need no naming; our own documents do."""
    if recipe != "tool_dialogue":
        return Seeds()
    return Seeds(apis=tuple(read_api(resource("apis", name)) for name in ("library.yaml", "workshop.yaml")))


def _fetch() -> None:
    """Fetch the embedded model on first use, saying so."""
    lacks = missing()
    if lacks and "weights" in lacks:
        console.err.print("fetching the embedded model (93 MB, once) ...")
        pull()
    elif lacks:
        raise InputError(f"the demo runs on the embedded model: {lacks}")


def _sample(path: Path) -> None:
    """Print one record of a run file."""
    file = RunFile.open(path)
    try:
        reader = Reader(file)
        records = list(reader.records())
        if not records:
            console.out.print("no record was kept; see the reasons above")
            return
        best = max(records[:20], key=_own_words)
        console.out.print(f"a sample, {best.id}:", style="bold")
        if best.type == "preference":
            console.chat(best.chat("prompt"), "prompt")
            console.chat(best.chat("chosen"), "chosen", "green")
            console.chat(best.chat("rejected"), "rejected", "red")
        else:
            console.conversation(reader.traces(best.item)[best.body["trace"]])
    finally:
        file.close()


def _own_words(record: StoredRecord) -> tuple[int, int]:
    """Prefer a record whose lines the model worded itself, then the earliest."""
    traces = record.reader.traces(record.item)
    templates = sum(1 for trace in traces for event in trace.events if event.message.notes.get("fallback"))
    return -templates - (1 if record.body["meta"].get("fallback") else 0), -record.item
