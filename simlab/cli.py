"""The command line. Its commands are thin: they read options, call the library and print.

Exit codes: 0; 1 a check found something; 2 bad input; 3 stopped by budget or infrastructure, resumable;
130 Ctrl-C. Bad input is one clear line on stderr; a bug is a traceback.
"""

import os
import shlex
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from simlab.errors import BudgetSpent, InputError, JournalMismatch, Stopped, first_of, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simlab.api import ApiSource
    from simlab.limits import Budget
    from simlab.run import Cast

INTERRUPTED = 130
UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # click's, which typer carries but does not name

app = typer.Typer(
    name="simlab",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Agent simulations that generate, evaluate and replay conversations.\n\n"
    "Start with [bold]simlab demo[/bold]; it needs no key and no server.",
)
models_app = typer.Typer(no_args_is_help=True, help="Fetch and list language models that run on this machine.")
app.add_typer(models_app, name="models")

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run file, NAME.simlab.", show_default=False)]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="[ROLE=]SPEC",
        help="embedded[:FILE.gguf][,slots=N], openai:NAME[@URL] or scripted[:FAULT=RATE]; ROLE is user, assistant,"
        " teacher or critic. Repeatable. Default: embedded, where installed. More than one slot: see docs/models.md.",
        show_default=False,
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option(help="URL of an OpenAI-compatible endpoint; no key is needed with it.", show_default=False)
]
SamplingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sampling",
        metavar="[ROLE:]KEY=VALUE,...",
        help="temperature, top_p, max_tokens; wins over the recipe's.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Fixes every random choice.")]
OverlayOption = Annotated[
    Path | None,
    typer.Option(
        "--overlay",
        metavar="FILE",
        help="Corrections to what is inferred from the document. Default: overlays/NAME.yaml beside it.",
        show_default=False,
    ),
]
MaxBytesOption = Annotated[
    int | None,
    typer.Option(
        "--max-bytes", min=1, help="How large a document and its files may be. Default: 32 MiB.", show_default=False
    ),
]
NetworkOption = Annotated[
    bool, typer.Option("--allow-network", help="Follow references of documents over the network.")
]
ConcurrencyOption = Annotated[int, typer.Option("--concurrency", min=1, max=100_000, help="Calls in flight.")]


class Reading(NamedTuple):
    """How documents are read, by the options that were given."""

    overlay: Path | None = None
    max_bytes: int | None = None
    network: bool = False

    @property
    def limits(self) -> dict[str, Any]:
        """The keywords of whatever reads documents."""
        from simlab.documents import MAX_BYTES

        return {"max_bytes": self.max_bytes or MAX_BYTES, "network": self.network}

    def sources(self, documents: list[Path]) -> "tuple[ApiSource, ...]":
        """The documents, read; raises InputError where one overlay is to correct several."""
        from simlab.api import read_api

        if self.overlay is not None and len(documents) != 1:
            raise InputError(f"--overlay corrects one document: give one --api with it, not {len(documents) or 'none'}")
        return tuple(read_api(path, self.overlay, **self.limits) for path in documents)


def _episode(text: str) -> int:
    """The number of an item; raises InputError for anything else."""
    if not text.isdecimal() or len(text) > 18:  # which SQLite still counts up to
        raise InputError(f"no episode {text[:40]!r}: expected the number of an item, as `simlab show RUN` lists them")
    return int(text)


def _print_version(wanted: bool) -> None:
    if wanted:
        from simlab import __version__

        typer.echo(f"simlab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log events to stderr as JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more: drops, retries, sessions.")] = False,
) -> None:
    """Read what holds for every command."""
    del version  # which ends before this
    if log_json or verbose:
        import logging

        from simlab.events import configure

        configure(as_json=log_json, level=logging.INFO if verbose or log_json else logging.WARNING)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or package.module:thing.", show_default=False)],
    n: Annotated[
        int | None,
        typer.Option(
            "-n", min=1, help="Items to attempt. Default: 10, or one per scenario or question.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run file. Default: RECIPE.simlab.", show_default=False)
    ] = None,
    model: ModelOption = None,
    base_url: BaseUrl = None,
    seed: SeedOption = 0,
    concurrency: ConcurrencyOption = 16,
    topics: Annotated[str | None, typer.Option(help="Topics, separated by commas.", show_default=False)] = None,
    topics_file: Annotated[
        Path | None, typer.Option(help="A file with one topic per line.", show_default=False)
    ] = None,
    questions_file: Annotated[
        Path | None, typer.Option(help="A file with one opening question per line, used as it is.", show_default=False)
    ] = None,
    scenarios: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Scenario files to play; repeatable.", show_default=False)
    ] = None,
    api: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DOC",
            help="An OpenAPI document, for recipes that take one. Repeatable. Default: our own.",
            show_default=False,
        ),
    ] = None,
    overlay: OverlayOption = None,
    max_bytes: MaxBytesOption = None,
    allow_network: NetworkOption = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of the recipe (see: simlab recipes NAME). Repeatable.",
            show_default=False,
        ),
    ] = None,
    sampling: SamplingOption = None,
    max_calls: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many calls over the whole run.", show_default=False)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many tokens over the whole run.", show_default=False)
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0.0, help="Stop at so many US dollars over the whole run.", show_default=False)
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Stop this session after so many seconds.", show_default=False)
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Episodes alive at a time. Default: 4 x concurrency.", show_default=False)
    ] = None,
    accept_code_change: Annotated[
        bool,
        typer.Option(
            "--accept-code-change", help="Go on though the code has changed: keep what is finished, restart the rest."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Run a recipe; the same command again goes on where it stopped.

    [bold]Examples[/bold]

    simlab run dialogue -n 20 --out talks.simlab

    simlab run pink_elephants -n 40 --model openai:NAME --base-url http://127.0.0.1:8000/v1

    simlab run dialogue --scenarios 'scenarios/topics/*.yaml' --model scripted
    """
    from simlab.run import find_recipe, parse_options

    found = find_recipe(recipe)
    reading = Reading(overlay, max_bytes, allow_network)
    seeds = _seeds(found, topics, topics_file, questions_file, scenarios, api, reading)
    _note_actions(seeds.apis)
    budget = _budget(max_calls, max_tokens, max_cost, max_seconds)
    cast = _cast(model, base_url, sampling)
    count = n if n is not None else len(seeds.scenarios) or len(seeds.questions) or 10
    path = out or Path(f"{recipe.rpartition(':')[2]}.simlab")
    _play(
        path, recipe, parse_options(found, set_ or []), seeds, cast, count, seed=seed, budget=budget,
        concurrency=concurrency, window=window, accept=accept_code_change, quiet=quiet,
    )  # fmt: skip
    typer.echo(f"next: simlab show {path}  ·  simlab export {path} --format simlab --out {path.stem}.jsonl")


def _play(
    path: Path, recipe: str, options: dict[str, Any], seeds: Any, cast: "Cast", n: int, *, seed: int, budget: "Budget",
    concurrency: int, window: int | None = None, accept: bool = False, quiet: bool = False,
) -> Any:  # fmt: skip
    """Play a run to its end and print what it made; raises Stopped where it ended early."""
    import anyio

    from simlab.console import Watcher, summary
    from simlab.run import Run, RunSpec

    if budget.cost is not None and (unknown := cast.without_price()):
        typer.echo(f"note: --max-cost does not count {', '.join(unknown)}: the price is not known", err=True)
    spec = RunSpec(recipe, seed, options, seeds, cast.described())
    fresh = not path.exists()
    made = Run.open(path, spec, n, accept_code_change=accept)
    try:

        async def execute(watcher: Watcher) -> Stopped | None:
            try:
                return await made.execute(cast, concurrency=concurrency, window=window, budget=budget, progress=watcher)
            finally:
                with anyio.CancelScope(shield=True):
                    await cast.aclose()

        with Watcher(recipe.rpartition(":")[2], quiet=quiet) as watcher:
            stopped = anyio.run(execute, watcher)
        summary(made.tally, budget.accounts)
        if made.tally.finished and not made.tally.made:
            reason, detail = made.commonest_drop()
            typer.echo(f"note: nothing was kept; most items were dropped for {reason}: {detail}", err=True)
    except InputError:
        if fresh and not made.tally.finished:  # a run that never began leaves no file to be in the way
            made.file.close()
            path.unlink(missing_ok=True)
        raise
    finally:
        made.file.close()
    if stopped is not None:
        raise stopped
    if made.tally.failed:
        raise Stopped(f"{made.tally.failed} items met a failure of the infrastructure and are pending")
    return made


def _seeds(
    recipe: Any,
    topics: str | None,
    topics_file: Path | None,
    questions_file: Path | None,
    scenarios: list[str] | None,
    apis: list[Path] | None = None,
    reading: Reading = Reading(),  # noqa: B008 (a constant)
) -> Any:
    """What a run starts from, by the options that were given; raises InputError where they do not go together."""
    from simlab.files import matching, resource
    from simlab.lab import Seeds
    from simlab.run import apis_of, plays, takes_apis
    from simlab.scenario import load_scenario_files

    if sum(x is not None for x in (topics, topics_file, questions_file, scenarios or None, apis)) > 1:
        raise InputError("give one of --topics, --topics-file, --questions-file, --scenarios and --api")
    if apis and not takes_apis(recipe):
        raise InputError(f"{recipe.__name__} takes no API document (--api)")
    if reading.overlay and not apis:
        raise InputError("--overlay goes with --api; a scenario file names its own, as api.overlay")
    if takes_apis(recipe) and (topics or topics_file or questions_file):
        raise InputError(
            f"{recipe.__name__} is about API documents: give --api or --scenarios, not topics or questions"
        )
    if scenarios:
        files = load_scenario_files(scenarios, plays(recipe))
        return Seeds(scenarios=tuple(scenario for _, scenario in files), apis=apis_of(files, **reading.limits))
    if takes_apis(recipe):
        documents = [p for path in apis or [] for p in matching(str(path))] or sorted(resource("apis").glob("*.yaml"))
        return Seeds(apis=reading.sources(documents))
    listed: tuple[str, ...] = ()
    for option, value in (("--topics", topics), ("--topics-file", topics_file), ("--questions-file", questions_file)):
        if value is not None:
            listed = _lines(option, value)
    return Seeds(questions=listed) if questions_file is not None else Seeds(topics=listed)


def _note_actions(sources: "Iterable[ApiSource]") -> None:
    """Say which actions of APIs do nothing that an answer shows, which is rarely what is wanted."""
    idle = [one.id for source in sources for one in source.compiled().operations.values() if one.recorded_only]
    if idle:
        said = f"note: actions that change no record, as nobody has said what they do: {first_of(idle, 4)}"
        typer.echo(f"{said}; an overlay can (simlab inspect DOC --write-overlay FILE)", err=True)


def _lines(option: str, value: str | Path) -> tuple[str, ...]:
    """The lines of a file, or of a list with commas; raises InputError where there are none, or a topic twice."""
    from simlab.files import read_text

    lines = value.split(",") if isinstance(value, str) else read_text(value, "list").split("\n")
    listed = tuple(line.strip() for line in lines if line.strip())
    if not listed:
        raise InputError(f"{option}: there is not one line of text in {str(value)!r}")
    folded = [line.casefold() for line in listed]
    if option != "--questions-file" and len(set(folded)) < len(folded):
        twice = next(line for i, line in enumerate(listed) if folded[i] in folded[:i])
        raise InputError(f"{option}: the topic {twice!r} stands twice")
    return listed


def _kept(others: int) -> str:
    return f" ({others} not: already there and left as they are, or dropped)" if others else ""


def _cast(model: list[str] | None, base_url: str | None, sampling: list[str] | None) -> "Cast":
    from simlab.model import Sampling
    from simlab.run import Cast
    from simlab.scenario import role

    fixed: dict[str | None, Sampling] = {}
    for text in sampling or []:
        name, colon, rest = text.partition(":")
        fixed[role(name) if colon else None] = Sampling.parse(rest if colon else text)
    return Cast(model or [default_model()], base_url=base_url, sampling=fixed)


def default_model() -> str:
    """`embedded`, where its wheel and its weights are installed; raises InputError saying how to get them."""
    from simlab.models.embedded import missing

    if lacks := missing():
        raise InputError(f"no --model given, and the embedded one is not installed: {lacks}")
    return "embedded"


def _budget(calls: int | None, tokens: int | None, cost: float | None, seconds: float | None) -> "Budget":
    from simlab.limits import Budget

    return Budget(calls=calls, tokens=tokens, cost=cost, seconds=seconds)


@app.command()
def status(path: RunPath) -> None:
    """Say how far a run is, what it dropped and why, and what it cost."""
    from simlab.console import out, summary
    from simlab.evaluation import RECIPE
    from simlab.run import status_of

    made = status_of(path)
    out.print(
        f"[bold]{made.recipe}[/bold] with seed {made.seed} in {path}, made by simlab {made.version}", style="default"
    )
    for role, name in made.models.items():
        out.print(f"  {role:<10} {name}", markup=False)
    summary(made.tally, made.accounts, made.failed)
    if made.tally.finished < made.tally.n:
        command = "eval" if made.recipe == RECIPE else "run"
        out.print(
            f"{made.tally.n - made.tally.finished} items are pending; the same `simlab {command}` goes on with them"
        )


@app.command()
def show(
    path: RunPath,
    episode: Annotated[
        int | None,
        typer.Argument(help="An item's number; without one, a list of episodes.", parser=_episode, show_default=False),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long answers of an API whole.")] = False,
) -> None:
    """Print one episode as a readable conversation, or list the episodes.

    [bold]Examples[/bold]

    simlab show talks.simlab

    simlab show talks.simlab 3

    simlab show tools.simlab 6 --full
    """
    from simlab import console
    from simlab.runfile import RunFile
    from simlab.stored import Reader

    file = RunFile.open(path)
    try:
        reader = Reader(file)
        if episode is None:
            rows = list(reader.overview())
            names = ["item", "outcome", "end", "lines", "scenario", "first line"]
            shown = [name for name in names if name != "scenario" or any(name in row for row in rows)]
            cells = ([row.get(name, "") for name in shown] for row in rows)
            console.table(shown, cells, right=["item", "lines"])
            return
        _show_one(reader, episode, full=full)
    finally:
        file.close()


def _show_one(reader: Any, episode: int, *, full: bool) -> None:
    from simlab import console

    rows = reader.file.episode(episode)
    if rows is None:
        n = reader.meta["n"]
        known = f"items are 0 to {n - 1}" if not 0 <= episode < n else "it has not finished yet"
        raise InputError(f"{reader.file.path}: no episode {episode}: {known}")
    for trace in reader.traces(episode):
        console.conversation(trace, f"episode {episode}", full=full)
    for record in reader.records():
        if record.item == episode and "verdict" in record.body.get("meta", {}):
            verdict = ", ".join(f"{key} {value}" for key, value in record.body["meta"]["verdict"].items())
            console.out.print(f"verdict: {verdict}", markup=False)
        if record.item == episode and record.type == "instruction":
            for field in ("instruction", "input", "output"):
                if record.body[field]:
                    console.out.print(f"{field}: {record.body[field]}", markup=False)
        if record.item == episode and record.type == "preference":
            which = record.body.get("meta", {}).get("set", "preference")
            console.chat(record.chat("prompt")[:1], f"{which}: system message")
            console.chat(record.chat("chosen"), "chosen", "green")
            console.chat(record.chat("rejected"), "rejected", "red")
    for reason, detail in rows.drops:
        console.out.print(f"dropped: {reason}" + (f" ({detail})" if detail else ""), markup=False)
    for (verdict,) in reader.file.query("SELECT verdict FROM record WHERE item = ? AND verdict <> 'kept'", episode):
        console.out.print(f"dropped: {verdict}")


@app.command()
def export(
    path: RunPath,
    format: Annotated[
        str, typer.Option("--format", help="simlab, openai, openai-dpo, trl or trl-dpo.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The JSONL file to write; - is standard output.", show_default=False)
    ],
    keep_failed: Annotated[
        bool, typer.Option("--keep-failed", help="Also those whose verdict is failure (always in the simlab format).")
    ] = False,
) -> None:
    """Write the records of a run as JSONL, ordered by item; equal runs give equal bytes.

    [bold]Example[/bold]

    simlab export talks.simlab --format trl --out talks.jsonl

    simlab export talks.simlab --format openai --out - | head -1
    """
    from simlab.files import JSON_LINES, is_stdout, must_be_free
    from simlab.stored import export_run

    if not is_stdout(out):
        must_be_free(out, [path], holds=JSON_LINES)
    counts = export_run(path, format, out, keep_failed=keep_failed)
    note = f"{out}: {counts.records} records"
    if counts.failed:
        note += f"; {counts.failed} with a failed verdict left out (--keep-failed)"
    if counts.finished < counts.n:
        note += f"; the run is incomplete: {counts.finished} of {counts.n} items"
    if counts.undecided:
        note += f"; {counts.undecided} records not yet compared with the items before them"
    typer.echo(note, err=is_stdout(out))


@app.command()
def replay(
    path: RunPath,
    episode: Annotated[
        int | None, typer.Argument(help="An item's number; without one, all.", parser=_episode, show_default=False)
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="package.module:thing, for a run of a recipe that is not built in.", show_default=False),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Play one episode of an evaluation live, with this agent and the recorded user; exit 1 if it fails.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Re-run episodes against their recorded replies, offline; exit 1 where one differs.

    [bold]Examples[/bold]

    simlab replay talks.simlab

    simlab replay talks.simlab 3

    simlab replay eval.simlab 3 --agent my_package.agents:support
    """
    if agent is not None:
        _play_again(path, episode, agent)
        return
    import anyio

    from simlab.evaluation import failure_of
    from simlab.replay import Replay, Replayed
    from simlab.runfile import RunFile

    file = RunFile.open(path)
    found: list[Replayed] = []
    try:
        replaying = Replay(file, recipe)
        if replaying.other_code:
            typer.echo("note: this run was made by other code than this; differences may come from that", err=True)

        async def go() -> None:
            if episode is not None:
                if file.episode(episode) is None:
                    raise InputError(f"{path}: episode {episode} has not finished, or there is none")
                found.append(await replaying.item(episode))
                _print_replayed(found[-1])
                if said := failure_of(file, episode):
                    typer.echo(said)
                return
            async for result in replaying:
                found.append(result)
                _print_replayed(result)

        anyio.run(go)
    finally:
        file.close()
    wrong = sum(1 for result in found if result.difference)
    typer.echo(f"{len(found) - wrong} of {len(found)} reproduced")
    if wrong:
        raise typer.Exit(1)


def _play_again(path: Path, episode: int | None, agent: str) -> None:
    """Show an episode as another agent plays it; exits with 1 where that fails."""
    import anyio

    from simlab import console
    from simlab.runfile import RunFile
    from simlab.suite import choose, played_again

    file = RunFile.open(path)
    try:
        if episode is None or file.episode(episode) is None:
            raise InputError(f"{path}: --agent plays one finished episode: give its number")
        outcome = anyio.run(played_again, file, episode, choose(agent))
    finally:
        file.close()
    console.conversation(outcome.trace, f"episode {episode}, with {agent}")
    typer.echo(outcome.failure or f"{outcome.trial.scenario}: passed")
    if outcome.failure:
        raise typer.Exit(1)


def _print_replayed(result: Any) -> None:
    name = f"episode {result.item}" if result.item >= 0 else "shared work"
    typer.echo(f"{name}: {'DIFFERS: ' + result.difference if result.difference else f'same, {result.asked} replies'}")


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="A recipe.", show_default=False)] = None) -> None:
    """List the recipes, or describe one with its options."""
    from simlab import console
    from simlab.run import describe_recipe, list_recipes

    if name is None:
        console.table(["recipe", "what it makes"], list_recipes())
        return
    text, options = describe_recipe(name)
    console.paragraphs(text)
    console.table(["option", "default", "set it with", "what it is"], options)


@app.command()
def report(path: RunPath) -> None:
    """Print the figures of a run: rates with intervals, turns, drops."""
    from simlab import console
    from simlab.evaluation import RECIPE, read_evaluation
    from simlab.report import report_of
    from simlab.runfile import RunFile

    with closing(RunFile.open(path)) as file:
        evaluated = file.meta("recipe") == RECIPE
    if evaluated:  # its intervals allow for trials of one scenario being alike
        console.evaluation(read_evaluation(path))
    else:
        console.report(report_of(path))


@app.command()
def synth(
    out: Annotated[Path, typer.Option("--out", help="The folder for the scenario files.", show_default=False)],
    topics: Annotated[
        str | None, typer.Option(help="Topics, separated by commas; the teacher writes.", show_default=False)
    ] = None,
    api: Annotated[
        Path | None,
        typer.Option(metavar="DOC", help="An OpenAPI document; labels are executed.", show_default=False),
    ] = None,
    overlay: OverlayOption = None,
    max_bytes: MaxBytesOption = None,
    allow_network: NetworkOption = False,
    n: Annotated[
        int | None,
        typer.Option("-n", min=1, help="Scenarios to write. Default: 10; with --until-coverage at most 1000."),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND,...",
            help="With --api: do, ask, chain, clarify, abstain (default), unknown, several, recover, refuse; or all."
            " Repeatable.",
            show_default=False,
        ),
    ] = None,
    until_coverage: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=100.0,
            metavar="PERCENT",
            show_default=False,
            help="For --api: write until so much of the operations, classes of arguments and statuses is reached.",
        ),
    ] = None,
    seed: SeedOption = 0,
    model: ModelOption = None,
    base_url: BaseUrl = None,
    sampling: SamplingOption = None,
    concurrency: ConcurrencyOption = 16,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Write scenario files, from topics or from an API document; play them with `run --scenarios`.

    Scenarios of an API are executed, and played by agents whose verdict is known: what fails is not written. Exit
    code 1 says that --until-coverage was not reached.

    [bold]Examples[/bold]

    simlab synth --topics tides,owls -n 6 --seed 1 --out my-talks

    simlab synth --api apis/library.yaml -n 20 --seed 1 --out my-scenarios

    simlab synth --api apis/library.yaml --kinds all --until-coverage 95 --out covered
    """  # fmt: skip
    from simlab.author import scripts, write_scenarios

    if (topics is None) == (api is None):
        raise InputError("synth needs --topics or --api, one of them")
    if topics is not None and (kinds or until_coverage is not None or overlay):
        raise InputError("--kinds, --until-coverage and --overlay go with --api")
    if api is not None and (model or base_url is not None or sampling):
        raise InputError("--model, --base-url and --sampling go with --topics: an API's scenarios are made by no model")
    wanted = _kinds(kinds)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot make this folder: {error.strerror}") from None
    if api is not None:
        reading = Reading(overlay, max_bytes, allow_network)
        _synth_tools(api, reading, out, n, seed, wanted, until_coverage, quiet)
        return
    n = n or 10
    seeds = _seeds(scripts, topics, None, None, None)
    cast = _cast(model, base_url, sampling)
    file = out / "synth.simlab"
    _play(
        file, "simlab.author:scripts", {}, seeds, cast, n, seed=seed, budget=_budget(None, None, None, None),
        concurrency=concurrency, quiet=quiet,
    )  # fmt: skip
    written = write_scenarios(file, out)
    typer.echo(f"{written} scenarios written to {out}{_kept(n - written)}")
    typer.echo(f"next: simlab run dialogue --scenarios '{out}/*.yaml'")


def _kinds(given: list[str] | None) -> tuple[str, ...]:
    """The kinds of tool scenario of an option, each once; raises InputError for one that there is not."""
    from simlab.plan import KINDS
    from simlab.scenario import tool_kinds

    return tool_kinds(given, "--kinds") if given else KINDS


def _synth_tools(
    api: Path, reading: Reading, out: Path, n: int | None, seed: int, kinds: tuple[str, ...], until: float | None,
    quiet: bool,
) -> None:  # fmt: skip
    """Write scenarios of an API and print what came of it; exits with 1 where a coverage was not reached."""
    import anyio

    from simlab import console
    from simlab.author import write_tool_scenarios
    from simlab.coverage import SORTS
    from simlab.files import matching
    from simlab.inspection import validated

    document = matching(str(api))[0]
    (source,), count = reading.sources([document]), n or (10 if until is None else 1000)
    _note_actions([source])
    with console.Counting("scenarios", count, quiet=quiet) as counting:

        async def write() -> Any:
            return await write_tool_scenarios(
                source, document, out, count, seed, kinds=kinds, until=until, overlay=reading.overlay, progress=counting
            )

        made = anyio.run(write)
    reasons = ", ".join(f"{times} {reason}" for reason, times in sorted(made.rejected.items())) or "none"
    kept = f" ({made.kept} were there already and are left as they are)" if made.kept else ""
    asked = f" of {count}" if until is None and made.written + made.kept < count else ""
    typer.echo(f"{made.written}{asked} scenarios written to {out}{kept}; drafts rejected: {reasons}")
    if made.others:
        typer.echo(
            f"note: {made.others} of those that were there are not what was made now; the figures below, autode.jsonl"
            " and controls.json are of what was made. Another --out keeps them apart",
            err=True,
        )
    if not made.scenarios:
        raise InputError(
            f"{document}: none of the {count} drafts came to a scenario; `simlab inspect` shows what it offers"
        )
    console.table(["agent passes", *made.table.kinds], list(made.table.rows()), right=made.table.kinds)
    reached = ", ".join(f"{had} of {of} {SORTS[sort]}" for sort, (had, of) in made.coverage.counts().items())
    typer.echo(f"coverage {made.coverage.percent:.1f} %: {reached}")
    if wrong := validated(source.text).lines:
        typer.echo(f"note: by its specification the document has {len(wrong)} faults, first: {wrong[0]}", err=True)
    typer.echo(f"next: simlab run tool_dialogue --scenarios '{out}/*.yaml'")
    if until is not None and made.coverage.percent < until:
        missing = [aim.operation for aim in made.coverage.missing()]
        shown = first_of(missing, 8)
        typer.echo(f"note: {until:g} % was not reached; {len(missing)} operations lack something: {shown}", err=True)
        raise typer.Exit(1)


@app.command(name="eval")
def evaluate(
    agent: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="package.module:thing, openai:NAME[@URL], or an agent to calibrate by: oracle, do_nothing, never_asks,"
            " read_only, random_calls@SEED, always_refuses, enumerate_everything, faulty@TYPE=RATE.",
            show_default=False,
        ),
    ],
    scenarios: Annotated[
        list[str], typer.Option(metavar="GLOB", help="Scenario files with labels; repeatable.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The run file.")] = Path("eval.simlab"),
    trials: Annotated[int, typer.Option(min=1, help="Trials of each scenario.")] = 1,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ROLE=]SPEC",
            help="Who words the user, as in user=openai:NAME. Default: nobody, it keeps to its script.",
            show_default=False,
        ),
    ] = None,
    base_url: BaseUrl = None,
    seed: SeedOption = 0,
    concurrency: ConcurrencyOption = 16,
    min_success: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Exit with 1 below this share.", show_default=False)
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="A file of --json, or a run file: exit with 1 where worse by more than chance.", show_default=False
        ),
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures here.", show_default=False)] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with charts here.", show_default=False)] = None,
    turn_seconds: Annotated[float, typer.Option(min=0.001, help="Deadline of a turn of the agent.")] = 60.0,
    episode_seconds: Annotated[float, typer.Option(min=0.001, help="Deadline of all its turns in an episode.")] = 600.0,
    max_calls: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many calls to models.", show_default=False)
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0.0, help="Stop at so many US dollars.", show_default=False)
    ] = None,
    accept_code_change: Annotated[
        bool, typer.Option("--accept-code-change", help="Go on though the code has changed.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Evaluate an agent on scenarios with labels; exit 1 below --min-success, or worse than --baseline.

    [bold]Examples[/bold]

    simlab eval --agent my_package.agents:support --scenarios 'scenarios/library/*.yaml' --trials 5

    simlab eval --agent never_asks --scenarios 'scenarios/courier/*.yaml' --scenarios 'scenarios/library/*.yaml'
    """
    from simlab import console
    from simlab.evaluation import RECIPE, read_evaluation
    from simlab.files import must_be_free
    from simlab.lab import Seeds
    from simlab.run import apis_of
    from simlab.scenario import TOOL_KINDS, load_scenario_files
    from simlab.suite import cast_of, choose, played_before

    before = read_evaluation(baseline) if baseline is not None else None
    files = load_scenario_files(scenarios, TOOL_KINDS)
    if before is not None and baseline is not None:
        before.must_share([scenario.id for _, scenario in files], baseline)
    taken = [
        out,
        *([baseline] if baseline is not None else []),
        *(path for file in files for path in _read_with(*file)),
    ]
    for written, holds in ((json_, "JSON"), (html, "HTML")):
        if written is not None:
            must_be_free(written, taken, holds=holds)
            taken.append(written)
    seeds = Seeds(scenarios=tuple(scenario for _, scenario in files), apis=apis_of(files))
    chosen = choose(agent, turn_seconds=turn_seconds, episode_seconds=episode_seconds)
    cast, stopped = cast_of(chosen, model or [], base_url=base_url), None
    had = played_before(out, chosen, cast)
    try:
        _play(
            out, RECIPE, {"agent": chosen.option}, seeds, cast, trials * len(files), seed=seed, concurrency=concurrency,
            budget=_budget(max_calls, None, max_cost, None), accept=accept_code_change, quiet=quiet,
        )  # fmt: skip
    except Stopped as stop:
        stopped = stop
    made = read_evaluation(out)
    if had == len(made.trials):
        typer.echo(f"nothing was played: all {had} episodes were in {out} already", err=True)
    console.evaluation(made, before)
    _print_failures(out)
    _write_evaluation(out, made, before, json_, html)
    if stopped is not None:
        raise stopped
    low = min_success is not None and made.success.value < min_success
    if low:
        typer.echo(f"success {made.success.value:.3f} is below {min_success:g}", err=True)
    if low or (before is not None and made.is_worse(before)):
        raise typer.Exit(1)


def _print_failures(path: Path) -> None:
    from simlab.evaluation import in_brief
    from simlab.runfile import RunFile

    file = RunFile.open(path)
    try:
        for line in in_brief(file):
            typer.echo(line)
    finally:
        file.close()


def _read_with(path: Path, scenario: Any) -> list[Path]:
    """The files that a scenario is read from: its own, the document and the overlay."""
    document, overlay = path.parent / scenario.api.document, scenario.api.overlay
    return [path, *_document_files(document, path.parent / overlay if overlay else None)]


def _document_files(document: Path, overlay: Path | None = None) -> list[Path]:
    from simlab.api import overlay_beside

    return [document, overlay or overlay_beside(document)]


def _write_evaluation(path: Path, made: Any, before: Any, json_: Path | None, html: Path | None) -> None:
    from simlab.evaluation import failures
    from simlab.files import writing
    from simlab.page import page_of
    from simlab.runfile import RunFile
    from simlab.schema import to_ordered_json

    if json_ is not None:
        with writing(json_) as out:
            out.write(to_ordered_json(made.as_json()).encode() + b"\n")
    if html is not None:
        file = RunFile.open(path)
        try:
            with writing(html) as out:
                out.write(page_of(made, failures(file), before).encode())
        finally:
            file.close()


@app.command()
def serve(
    document: Annotated[Path, typer.Argument(metavar="DOC", help="An OpenAPI document.", show_default=False)],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 8080,
    overlay: OverlayOption = None,
    seed: SeedOption = 0,
    host: Annotated[str, typer.Option(help="Where to listen; others than this machine are let in on request only.")] = (
        "127.0.0.1"
    ),
    token: Annotated[
        str | None, typer.Option(help="For the sessions' endpoints. Default: a new one, printed.", show_default=False)
    ] = None,
    max_delay: Annotated[
        float, typer.Option(min=0, help="Seconds that a slow call may really take; 0: it is slow on paper.")
    ] = 0.0,
    max_bytes: MaxBytesOption = None,
    allow_network: NetworkOption = False,
) -> None:
    """Serve a simulated API over HTTP, until Ctrl-C: stateful, with sessions that share nothing (docs/serve.md).

    [bold]Examples[/bold]

    simlab serve apis/library.yaml

    simlab serve my-api.json --port 9000 --seed 3 --token secret
    """
    import secrets

    from simlab.files import matching

    try:
        from simlab.server import app as application
        from simlab.server import is_loopback, listening
        from simlab.server import serve as serve_at
    except ModuleNotFoundError as missing:
        raise InputError(f"serve needs the extra `server` ({missing.name} is not installed): simlab[server]") from None
    if token == "":
        raise InputError("--token: expected a word, got nothing; without the option a new one is made")
    (source,) = Reading(overlay, max_bytes, allow_network).sources([matching(str(document))[0]])
    api = source.compiled()
    given = token or secrets.token_urlsafe(16)
    made = application(api, token=given, seed=seed, max_delay=max_delay)
    with listening(host, port) as at:
        if not is_loopback(host):
            said = f"warning: {host} can be reached from other machines, and the API asks for no credentials"
            typer.echo(said, err=True)
        name = f"[{host}]" if ":" in host else host
        typer.echo(f"{api.title}: {len(api.operations)} operations at http://{name}:{at.getsockname()[1]}")
        typer.echo(f"token: {given}")
        with suppress(KeyboardInterrupt):  # how a server ends
            serve_at(made, at)


@app.command()
def inspect(
    document: Annotated[Path, typer.Argument(metavar="DOC", help="An OpenAPI document.", show_default=False)],
    overlay: OverlayOption = None,
    write_overlay: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all that is understood as an overlay to correct.", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over an overlay that is there; what it held is kept beside it.")
    ] = False,
    operation: Annotated[
        str | None, typer.Option(metavar="ID", help="Print all that is known of one operation.", show_default=False)
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where anything is wrong with the document.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    check: Annotated[
        bool, typer.Option(help="Call every operation with a generated example (the first 400 of them).")
    ] = True,
    validate: Annotated[bool, typer.Option(help="Validate the document by its specification.")] = True,
    validate_seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Stop the validator after so long. Default: 2 to 30, by the document's size.",
            show_default=False,
        ),
    ] = None,
    max_bytes: MaxBytesOption = None,
    allow_network: NetworkOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Print what is understood of an API document, why, what is not, and what of it can be called.

    [bold]Examples[/bold]

    simlab inspect my-api.json

    simlab inspect my-api.json --operation listUsers

    simlab inspect my-api.json --write-overlay my-overlay.yaml
    """
    from simlab import console
    from simlab import inspection as inspections
    from simlab.files import matching

    path = matching(str(document))[0]
    (source,) = Reading(overlay, max_bytes, allow_network).sources([path])
    api = source.compiled()
    if operation is not None:
        known = inspections.detail(api, operation)
        console.json(known) if as_json else console.operation(known)
        return
    if write_overlay is not None:
        kept = inspections.write_overlay(write_overlay, api, force=force)
        note = f" (what it held is now in {kept})" if kept else ""
        typer.echo(f"{write_overlay}: the overlay of {api.name}{note}", err=as_json)
    with console.Counting("calls", min(len(api.operations), inspections.MOST_TRIED), quiet=quiet) as counting:
        made = inspections.inspect(
            source, str(path), validate=validate, validate_seconds=validate_seconds,
            most_tried=inspections.MOST_TRIED if check else 0, progress=counting,
        )  # fmt: skip
    console.json(made.as_json()) if as_json else console.inspection(made)
    if strict and (found := made.findings()):
        typer.echo(f"strict: {'; '.join(found)}", err=True)
        raise typer.Exit(1)


@app.command()
def verify(path: RunPath) -> None:
    """Execute every label of a run again and judge every trace again; exit 1 where one differs."""
    from simlab.verify import verify_run

    found = verify_run(path)
    for line in found.differences:
        typer.echo(line)
    typer.echo(f"{found.good} of {found.n} labels and verdicts hold")
    if found.differences:
        raise typer.Exit(1)


@app.command()
def score(
    traces: Annotated[Path, typer.Argument(metavar="TRACES", help="Traces, one JSON line each.", show_default=False)],
    labels: Annotated[Path, typer.Option("--labels", help="Labels, one JSON line each.", show_default=False)],
    api: Annotated[
        Path | None, typer.Option("--api", metavar="DOC", help="The API, for labels over one.", show_default=False)
    ] = None,
    overlay: OverlayOption = None,
    format: Annotated[str, typer.Option("--format", help="The reader of the traces.")] = "openai",
    labels_format: Annotated[
        str, typer.Option("--labels-format", help="The reader of the labels: label, bfcl or autode.")
    ] = "label",
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write a line per trace.", show_default=False)
    ] = None,
) -> None:
    """Score traces that were made elsewhere: success, types of error, slots (docs/scoring.md).

    [bold]Examples[/bold]

    simlab score traces.jsonl --labels labels.jsonl --api apis/library.yaml

    A line of labels.jsonl, whole: {"id": "t1", "label": {"calls": [{"op": "updateMember", "args":
    {"memberId": {"value": "member_0002"}, "fullName": {"value": "Ada Finch"}}}]}, "world": {"seed": 5}}

    simlab score traces.jsonl --labels possible_answer.jsonl --labels-format bfcl
    """
    from simlab import console
    from simlab.api import load_api
    from simlab.files import JSON_LINES, matching, must_be_free, writing
    from simlab.schema import to_json
    from simlab.scoring import score_files

    if overlay is not None and api is None:
        raise InputError("--overlay goes with --api")
    if api is not None and not api.exists():
        api = matching(str(api))[0]  # one that ships with simlab
    if out is not None:
        read = [traces, labels, *(_document_files(api, overlay) if api is not None else [])]
        must_be_free(out, read, holds=JSON_LINES)
    document = load_api(api, overlay) if api is not None else None
    found = score_files(traces, labels, api=document, format=format, labels_format=labels_format)
    if found.note:
        typer.echo(found.note, err=True)
    if out is not None:
        with writing(out) as file:
            file.write("".join(f"{to_json(row)}\n" for row in found.rows()).encode())
    console.scored(found)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="The folder for the run files.")] = Path("simlab-demo"),
    seed: SeedOption = 0,
    model: ModelOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Make a small corpus with the embedded model and show a sample of each product; no key, no server."""
    from simlab.demo import show_demo

    show_demo(out, seed, model, _cast, _play, quiet=quiet)


@models_app.command("pull")
def models_pull() -> None:
    """Fetch the embedded model (SmolLM2-135M-Instruct, Apache-2.0) into this user's cache."""
    from simlab.models.embedded import pull

    typer.echo(f"the embedded model is in {pull()}")


@models_app.command("list")
def models_list() -> None:
    """List the kinds of model and what each needs."""
    from simlab import console
    from simlab.models.embedded import missing
    from simlab.shelf import names

    state = {"embedded": missing() or "ready", "scripted": "ready"}
    state["openai"] = "ready" if os.environ.get("OPENAI_API_KEY") else "needs OPENAI_API_KEY, or --base-url"
    console.table(["model", "state"], [(name, state.get(name, "")) for name in names("models")])


def fail(message: str, code: int) -> NoReturn:
    """Print one clear line (two at the most) and exit."""
    lines = " ".join(message.split("\n")).strip()
    sys.stdout.flush()
    if lines:  # without arguments the help was printed, and says it all
        sys.stderr.write(f"simlab: error: {lines}\n")
    raise SystemExit(code)


def _usage(error: Any) -> str:
    """What click says of wrong usage, with the nearest option or command."""
    said = str(error.format_message()).split("(Possible")[0].strip().rstrip(".")
    context = getattr(error, "ctx", None)
    if (wrong := getattr(error, "option_name", None)) and wrong[1:].isdecimal():
        said = "no option, and no number that is expected here: nothing is below 0"
    elif wrong and context is not None:
        known = [name for parameter in context.command.params for name in parameter.opts if name.startswith("-")]
        said += nearest(str(wrong), known)
    elif said.startswith("No such command") and context is not None:
        said = said.split(".")[0] + nearest(said.split("'")[1], context.command.commands)
    return said[:1].lower() + said[1:]


def _raised(words: list[str], stop: BudgetSpent) -> str:
    """The same command with its limits doubled, and one beyond what is spent: a run may go on with it."""
    raised = list(words)
    for i, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in ("--max-calls", "--max-tokens", "--max-cost", "--max-seconds"):
            at, value = (i, value) if equals else (i + 1, words[i + 1])
            twice = float(value) * 2
            if option == stop.option:
                twice = max(twice, float(stop.spent * 2))
            raised[at] = f"{option}=" * bool(equals) + (f"{twice:.0f}" if twice.is_integer() else f"{twice:g}")
    return shlex.join(["simlab", *raised])


def _interrupted(again: str) -> NoReturn:
    sys.stderr.write(f"\nsimlab: interrupted; what was made is kept, go on with: {again}\n")
    raise SystemExit(130) from None


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    words = sys.argv[1:] if argv is None else argv
    again = shlex.join(["simlab", *words])
    try:
        if (code := app(words, standalone_mode=False) or 0) == INTERRUPTED:  # typer has turned Ctrl-C into this
            raise KeyboardInterrupt
        raise SystemExit(code)
    except (InputError, JournalMismatch) as error:
        fail(str(error), 2)
    except Stopped as stop:
        fail(f"stopped: {stop}; go on with: {_raised(words, stop) if isinstance(stop, BudgetSpent) else again}", 3)
    except UsageError as error:
        fail(_usage(error), 2)
    except typer.Exit as done:
        raise SystemExit(done.exit_code) from None
    except (KeyboardInterrupt, typer.Abort):
        _interrupted(again)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        _interrupted(again)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
