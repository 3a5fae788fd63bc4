"""A run: many episodes of one recipe, journaled into one file, resumable at any moment.

Items open in order inside a window, calls go to the lowest item first, and whatever depends on other items
(here: dropping near-duplicates) is decided in a second pass in item order. So the same seed and the same
replies give the same bytes at any concurrency, killed or not.
"""

import asyncio
import gc
import inspect
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import anyio

from simlab import __version__
from simlab.api import ApiSource, read_api
from simlab.documents import MAX_BYTES
from simlab.errors import (
    BudgetSpent,
    InfraError,
    InputError,
    JournalMismatch,
    RunFileError,
    ScenarioError,
    Stopped,
    nearest,
    shortened,
)
from simlab.events import log
from simlab.journal import Entry, Journal, Seed
from simlab.lab import Episode, Lab, Once, Recipe, Seeds, play
from simlab.limits import Account, Budget, Budgeted, Limited, Retrying, Tuned, limited
from simlab.model import AGENT, CallFailed, Model, Reply, Sampling
from simlab.plan import executed
from simlab.prices import price_of
from simlab.quality.near_duplicates import SIMILAR, similarity, telling
from simlab.runfile import SHARED, EpisodeRows, RunFile
from simlab.scenario import ROLES, TOOL_KINDS, AnyScenario, ToolScenario, scenario_from, scenario_json
from simlab.schema import digest, to_json
from simlab.shelf import find, names
from simlab.turns import Turns

FIXED = ("recipe", "seed", "options", "models", "seeds")  # what a resume may not change
CODE = ("simlab", "source")  # what it may change when told to
FLUSH_EVERY = 0.05  # seconds
COLLECT_EVERY = 50_000  # new objects; the collector finds nothing in episodes, and looking cost a tenth of a run
STORED_IN = 8  # rounds of the event loop, about, after which an episode that has finished is stored
IN_A_ROW = 10  # failed episodes without one success between them, after which the endpoint is given up


@dataclass(frozen=True)
class RunSpec:
    """What fixes the bytes of a run, together with the replies it gets."""

    recipe: str
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    seeds: Seeds = field(default_factory=Seeds)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def meta(self) -> dict[str, Any]:
        """The form that is stored in the run file and compared at a resume."""
        return {
            "simlab": __version__,
            "source": source_digest(find_recipe(self.recipe)),
            "recipe": self.recipe,
            "seed": self.seed,
            "options": dict(self.options),
            "models": {role: dict(model) for role, model in sorted(self.models.items())},
            "seeds": seeds_json(self.seeds),
        }


def seeds_json(seeds: Seeds) -> dict[str, Any]:
    """Seeds as plain data."""
    made: dict[str, Any] = {}
    if seeds.topics:
        made["topics"] = list(seeds.topics)
    if seeds.questions:
        made["questions"] = list(seeds.questions)
    if seeds.scenarios:
        made["scenarios"] = [scenario_json(scenario) for scenario in seeds.scenarios]
    if seeds.apis:
        made["apis"] = [{"name": api.name, "text": api.text, "overlay": api.overlay} for api in seeds.apis]
    return made


def seeds_from(value: Mapping[str, Any]) -> Seeds:
    """Seeds from what `seeds_json` made."""
    return Seeds(
        topics=tuple(value.get("topics", ())),
        questions=tuple(value.get("questions", ())),
        scenarios=tuple(scenario_from(one) for one in value.get("scenarios", ())),
        apis=tuple(ApiSource(**one) for one in value.get("apis", ())),
    )


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; raises InputError when there is none, or when it is not an async generator."""
    recipe: Recipe = find("recipes", name)
    if not inspect.isasyncgenfunction(recipe):
        raise InputError(f"{name} is not a recipe: expected an async generator `async def ...(lab, seeds, *, ...)`")
    return recipe


def plays(recipe: Recipe) -> tuple[str, ...]:
    """The kinds of scenario a recipe plays, as its module says in PLAYS; none where it says nothing."""
    return tuple(getattr(inspect.getmodule(recipe), "PLAYS", ()))


def takes_apis(recipe: Recipe) -> bool:
    """Whether a recipe is about API documents."""
    return bool(set(plays(recipe)) & set(TOOL_KINDS))


def apis_of(
    files: Iterable[tuple[Path, AnyScenario]], *, max_bytes: int = MAX_BYTES, network: bool = False
) -> tuple[ApiSource, ...]:
    """The documents that scenarios name; raises InputError where one is missing or changed, or a label fails."""
    files, found = list(files), dict[str, ApiSource]()
    for path, scenario in files:
        if not isinstance(scenario, ToolScenario) or scenario.api.sha256 in found:
            continue
        document = path.parent / scenario.api.document
        overlay = path.parent / scenario.api.overlay if scenario.api.overlay else None
        source = read_api(document, overlay, max_bytes=max_bytes, network=network)
        if source.sha256 != scenario.api.sha256:
            raise InputError(
                f"{path}: api.sha256: {scenario.api.document} has changed since this scenario was written"
                f" (it is {source.sha256[:12]}..., not {scenario.api.sha256[:12]}...): write it anew by `simlab synth`"
                f" into another folder, or put in {source.sha256} and see whether its label still holds"
            )
        found[source.sha256] = source
    for path, scenario in files:
        if isinstance(scenario, ToolScenario) and (wrong := executed(found[scenario.api.sha256].compiled(), scenario)):
            raise ScenarioError(f"{path}: {wrong}")
    return tuple(found.values())


def source_digest(recipe: Recipe) -> str:
    """The digest of the code that decides the bytes: the module a recipe is in, and this package."""
    module = inspect.getmodule(recipe)
    return digest(inspect.getsource(module or recipe) + _package_digest())


@lru_cache(maxsize=1)
def _package_digest() -> str:
    package = Path(__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))]
    return digest("\x1f".join(texts))


def recipe_options(recipe: Recipe) -> dict[str, inspect.Parameter]:
    """The keyword options of a recipe."""
    parameters = inspect.signature(recipe).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def parse_options(recipe: Recipe, given: Iterable[str]) -> dict[str, Any]:
    """Read `--set key=value` by the types of a recipe's options; raises InputError naming what is wrong."""
    known, hints, made = recipe_options(recipe), get_type_hints(recipe), {}
    for word in given:
        key, equals, value = word.partition("=")
        if key not in known:
            raise InputError(f"{recipe.__name__} has no option {key!r}{nearest(key, known)}")
        if not equals:
            raise InputError(f"option {key} needs a value: --set {key}=VALUE")
        made[key] = _parse(key, value, hints.get(key, str))
    return made


def _parse(key: str, value: str, kind: Any) -> Any:
    kinds = [k for k in get_args(kind) if k is not type(None)] if type(None) in get_args(kind) else [kind]
    try:
        if kinds[0] is bool:
            return {"true": True, "false": False}[value.lower()]
        if get_args(kinds[0]) == (int, int):
            low, _, high = value.partition("-")
            pair = (int(low), int(high or low))
            if not 1 <= pair[0] <= pair[1]:
                raise ValueError
            return pair
        if kinds[0] is int and int(value) < 1:
            raise ValueError
        return kinds[0](value) if kinds[0] in (int, float) else value
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "a whole number from 1", float: "a number"}.get(
            kinds[0], "a range such as 3-7"
        )
        raise InputError(f"option {key} takes {wanted}, got {value!r}") from None


def split_spec(spec: str) -> tuple[str | None, str, str | None]:
    """`[role=]NAME[:ARGUMENT][@URL]` -> (role, name with argument, url); raises InputError for an unknown role."""
    role, equals, rest = spec.partition("=")
    if equals and ":" not in role:
        if role not in ROLES:
            raise InputError(f"--model {spec}: no role {role!r}{nearest(role, ROLES)}")
    else:
        role, rest = "", spec
    name, at, url = rest.rpartition("@http")
    return role or None, name if at else rest, f"http{url}" if at else None


class Cast:
    """The models of a run by role; roles given the same spec share one adapter and its connections."""

    def __init__(
        self,
        specs: Iterable[str],
        *,
        base_url: str | None = None,
        sampling: Mapping[str | None, Sampling] | None = None,
        agent: Model | None = None,
    ) -> None:
        """`agent` is the door to an agent under test, where there is one."""
        self._adapters: dict[tuple[str, str | None], Model] = {}
        self.models: dict[str, Model] = {}
        self.failures = 0
        parsed = [split_spec(spec) for spec in specs]
        for role, name, url in sorted(parsed, key=lambda p: p[0] is not None):
            model = self._adapter(name, url or base_url)
            for each in [role] if role else ROLES:
                fixed = (sampling or {}).get(each, Sampling()).over((sampling or {}).get(None, Sampling()))
                self.models[each] = Tuned(model, fixed)
        if agent is not None:
            self.models[AGENT] = self._adapters[AGENT, None] = agent

    def _adapter(self, name: str, url: str | None) -> Model:
        if (name, url) not in self._adapters:
            stem, _, argument = name.partition(":")
            if ":" in name and stem not in names("models"):  # package.module:thing, a user's own
                self._adapters[name, url] = find("models", name)("", base_url=url)
            else:
                self._adapters[name, url] = find("models", stem)(argument, base_url=url)
        return self._adapters[name, url]

    def described(self) -> dict[str, dict[str, Any]]:
        """What the run file keeps of each role's model."""
        return {
            role: {
                "name": model.name,
                "small": model.small,
                **({"sampling": fixed} if (fixed := model.sampling.given) else {}),
            }
            for role, model in self.models.items()
        }

    def without_price(self) -> list[str]:
        """The models whose price is not known."""
        names = {model.name for role, model in self.models.items() if role != AGENT}
        return sorted(name for name in names if price_of(name) is None)

    def wrapped(self, turns: Turns, budget: Budget) -> dict[str, Model]:
        """Each role's model within retries, the limit on calls in flight, and the budget, in this order."""
        made: dict[str, Model] = {}
        for role, model in self.models.items():
            if role == AGENT:  # its turns are no calls that a budget pays for, and none of its faults passes
                made[role] = Limited(model, turns)
                continue
            retrying = Retrying(model, on_failure=partial(self._count_failure, budget, model.name))
            made[role] = Budgeted(limited(retrying, turns), budget)
        return made

    def _count_failure(self, budget: Budget, name: str) -> None:
        self.failures += 1
        budget.account(name).failed += 1
        log().info("call failed", model=name)

    async def aclose(self) -> None:
        """Close every adapter."""
        for adapter in self._adapters.values():
            await adapter.aclose()


@dataclass
class Tally:
    """How far a run is; `failed` items met an infrastructure fault and stay pending."""

    n: int = 0
    finished: int = 0
    made: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    fallbacks: int = 0
    lines: int = 0
    failed: int = 0

    def add(self, episode: Episode) -> None:
        """Count a finished episode."""
        self.finished += 1
        self.made += len(episode.records)
        for reason, _ in episode.drops:
            self.drops[reason] = self.drops.get(reason, 0) + 1
        for trace in episode.traces:
            self.lines += len(trace.events)
            self.fallbacks += sum(1 for event in trace.events if event.message.notes.get("fallback"))


class SecondPass:
    """Decides in item order which records are kept: a near-duplicate of an earlier one is dropped.

    Two texts are compared when they share most of their smallest hashes. A hash that more than CROWD kept
    records have (everybody's turn of phrase) says nothing and is passed over, so the work per item is bounded.
    """

    CROWD = 32
    REMEMBERED = 4096  # sketches that need not be looked up
    SEEN = 1 << 22  # marks for hashes that the file holds, 4 MB of them; two hashes may share one

    def __init__(self, file: RunFile, tally: Tally) -> None:
        self._file, self._tally = file, tally
        self._ready: dict[int, list[tuple[int, bytes | None]]] = {}
        self._unflushed: dict[int, list[tuple[int, int]]] = {}
        self._sketches: dict[tuple[int, int], bytes] = {}
        self._crowds: set[int] = set()  # hashes that need not be looked up any more
        self._seen = bytearray(self.SEEN)  # so that a hash nobody has is not looked up either
        self._flushes = file.flushes
        self._mark(value for (value,) in file.query("SELECT DISTINCT hash FROM nearby"))
        undecided = file.query("SELECT item, n, sketch FROM record WHERE verdict IS NULL ORDER BY item, n")
        for item, n, made in list(undecided):
            self._ready.setdefault(item, []).append((n, made))
        self._next = first_gap(file.finished())
        for item in sorted(i for i in self._ready if i < self._next):
            self._decide(item, self._ready.pop(item))
        for (item,) in file.query("SELECT item FROM episode WHERE item >= ?", self._next):
            self._ready.setdefault(item, [])

    def finished(self, item: int, rows: EpisodeRows) -> None:
        """Take in a finished item, and decide all whose turn has come."""
        if self._flushes != self._file.flushes:  # what was pending can now be found in the file
            self._flushes = self._file.flushes
            self._mark(self._unflushed)
            self._unflushed.clear()
            if len(self._sketches) > self.REMEMBERED:
                self._sketches.clear()
        self._ready[item] = [(n, made) for n, (_, _, made) in enumerate(rows.records)]
        while self._next in self._ready:
            self._decide(self._next, self._ready.pop(self._next))
            self._next += 1

    def _decide(self, item: int, records: list[tuple[int, bytes | None]]) -> None:
        """Keep or drop an item's records, all alike."""
        told = {n: telling(made) for n, made in records if made is not None}
        holders = self._holders({value for hashes in told.values() for value in hashes})
        twins = [
            twin for n, made in records if made is not None and (twin := self._twin(made, told[n], holders)) is not None
        ]
        for n, made in records:
            if twins:
                self._tally.drops["near_duplicate"] = self._tally.drops.get("near_duplicate", 0) + 1
                self._tally.made -= 1
                self._file.put_verdict(item, n, f"near_duplicate of {min(twins)}", ())
                continue
            index = [v for v in told.get(n, ()) if v in holders and len(holders[v]) < self.CROWD]
            self._file.put_verdict(item, n, "kept", index)
            for value in index:
                holders[value].append((item, n))
                self._unflushed.setdefault(value, []).append((item, n))
            if made is not None:
                self._sketches[item, n] = made

    def _twin(self, made: bytes, told: list[int], holders: Mapping[int, list[tuple[int, int]]]) -> int | None:
        """The lowest item whose kept record resembles this one."""
        found = [holders[value] for value in told if value in holders]
        if not any(found):
            return None
        shared, most = Counter(chain.from_iterable(found)), 0.6 * len(found)
        close = sorted([key for key, count in shared.items() if count >= most])
        return next((key[0] for key in close if similarity(self._sketch(*key), made) >= SIMILAR), None)

    def _holders(self, hashes: set[int]) -> dict[int, list[tuple[int, int]]]:
        """The kept records that have each hash, without the hashes that a crowd has."""
        found = {value: [*self._unflushed.get(value, ())] for value in hashes if value not in self._crowds}
        if seen := [value for value in found if self._seen[value % self.SEEN]]:
            stored = "SELECT hash, item, n FROM nearby WHERE hash IN (SELECT value FROM json_each(?))"
            for value, item, n in self._file.query(stored, to_json(seen)):
                found[value].append((item, n))
        crowds = [value for value, keys in found.items() if len(keys) >= self.CROWD]
        for value in crowds:
            self._crowds.add(value)
            del found[value]
        return found

    def _mark(self, hashes: Iterable[int]) -> None:
        for value in hashes:
            self._seen[value % self.SEEN] = 1

    def _sketch(self, item: int, n: int) -> bytes:
        if (item, n) not in self._sketches:
            self._sketches[item, n] = self._file.one("SELECT sketch FROM record WHERE item = ? AND n = ?", item, n)
        return self._sketches[item, n]


def first_gap(items: Iterator[int]) -> int:
    """The lowest number from 0 that an ascending sequence lacks."""
    expected = 0
    for item in items:
        if item != expected:
            break
        expected += 1
    return expected


def gaps(items: Iterator[int], n: int) -> list[range]:
    """The ranges below n that an ascending sequence lacks."""
    found, expected = [], 0
    for item in items:
        if item >= n:
            break
        if item > expected:
            found.append(range(expected, item))
        expected = item + 1
    if expected < n:
        found.append(range(expected, n))
    return found


class Run:
    """One run and its file; `execute` plays what is still pending."""

    def __init__(self, file: RunFile, spec: RunSpec, n: int) -> None:
        self.file, self.spec, self.n = file, spec, n
        self.recipe = find_recipe(spec.recipe)
        self.tally = stored_tally(file, n)
        self.code = digest(to_json([spec.meta()[key] for key in CODE]))
        self._stopped: Stopped | None = None
        self._failed_in_a_row = 0

    @classmethod
    def open(cls, path: Any, spec: RunSpec, n: int, *, accept_code_change: bool = False) -> "Run":
        """Create the run file, or open it to go on; raises RunFileError naming what differs from its configuration."""
        if spec.seeds.limit is not None and n > spec.seeds.limit:
            raise InputError(f"-n {n}: there are only {spec.seeds.limit} opening questions")
        meta = spec.meta()
        try:
            file = RunFile.open_for_writing(path)
        except RunFileError as error:
            if "no such run file" not in str(error):
                raise
            return cls(RunFile.create(path, {**meta, "n": n}), spec, n)
        try:
            cls._compare(file, meta, n, accept_code_change)
            file.put_meta("n", n)
            file.flush()
            return cls(file, spec, n)
        except BaseException:
            file.close()
            raise

    @staticmethod
    def _compare(file: RunFile, meta: Mapping[str, Any], n: int, accept: bool) -> None:
        for key in FIXED:
            then, now = file.meta(key), meta[key]
            if to_json(then) != to_json(now):
                raise RunFileError(f"{file.path}: {difference(key, then, now)}; use another --out, or the same {key}")
        if n < file.meta("n"):
            raise RunFileError(
                f"{file.path}: was asked for {file.meta('n')} items; -n {n} would cut it (it can only grow)"
            )
        changed = [key for key in CODE if to_json(file.meta(key)) != to_json(meta[key])]
        if changed and not accept:
            what = "simlab's version" if changed[0] == "simlab" else "the recipe's code"
            raise RunFileError(
                f"{file.path}: {what} has changed since this run began;"
                " --accept-code-change keeps what is finished and restarts the rest"
            )
        if changed:
            for item in partial_items(file):
                file.forget(item)
            file.forget(SHARED)
            for key in CODE:
                file.put_meta(key, meta[key])

    def commonest_drop(self) -> tuple[str, str]:
        """The reason that most items were dropped for, and what was said of one of them."""
        row = self.file.row("SELECT reason, detail FROM dropped GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 1")
        reason, detail = row or ("near_duplicate", "each resembles another")
        return reason, detail

    async def execute(
        self,
        cast: Cast,
        *,
        concurrency: int = 16,
        window: int | None = None,
        budget: Budget | None = None,
        progress: Callable[[Tally, Budget], None] = lambda tally, budget: None,
    ) -> Stopped | None:
        """Play every pending item; returns why it stopped early, or None when all are finished."""
        budget = budget or Budget()
        budget.resume(stored_accounts(self.file, budget.accounts))
        began, calls = time.monotonic(), budget.total("calls")
        for name in {model.name for role, model in cast.models.items() if role != AGENT}:
            budget.account(name).price = price_of(name)
        self._models, self._budget, self._progress = cast.wrapped(Turns(concurrency), budget), budget, progress
        self._seed = Seed(self.spec.seed, self.spec.recipe)
        self._once = Once(self._shared_journal)
        self._partial = set(partial_items(self.file))
        self._second = SecondPass(self.file, self.tally)
        self._played: deque[tuple[int, Episode]] = deque()  # what has finished and is not stored yet
        self._some_played = anyio.Event()
        self._most_played = concurrency
        pending = (item for gap in gaps(self.file.finished(), self.n) for item in gap)
        ended = "killed"
        thresholds = gc.get_threshold()
        gc.set_threshold(COLLECT_EVERY, *thresholds[1:])
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._flush_often)
                group.start_soon(self._store_steadily)
                await _crowd(min(window or 4 * concurrency, self.n), lambda: self._work(pending))
                group.cancel_scope.cancel()
            ended = str(self._stopped) if self._stopped else "finished"
        except* Exception as failures:
            raise _first(failures) from None
        finally:
            gc.set_threshold(*thresholds)
            try:
                self._store_rest()
            finally:
                self.file.put_session(
                    budget.total("calls") - calls, cast.failures, round(time.monotonic() - began, 3), ended
                )
                self.file.flush()
                progress(self.tally, budget)
        return self._stopped

    async def _store_steadily(self) -> None:
        """Store episodes a few in each round of the event loop: many may finish together, and calls should not wait."""
        while True:
            await self._some_played.wait()
            self._some_played = anyio.Event()
            while waiting := len(self._played):
                for _ in range(max(1 + waiting // STORED_IN, waiting - self._most_played)):
                    self._store(*self._played.popleft())
                    self._progress(self.tally, self._budget)
                await anyio.lowlevel.checkpoint()

    def _store_rest(self) -> None:
        """Store all that has finished; one that cannot be stored does not keep the others from it."""
        failures: list[Exception] = []
        while self._played:
            try:
                self._store(*self._played.popleft())
            except Exception as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    def _store(self, item: int, episode: Episode) -> None:
        rows = episode.rows()
        self.file.put_episode(item, rows, self.code)
        self.tally.add(episode)
        for reason, detail in episode.drops:
            log().info("dropped", item=item, reason=reason, detail=detail)
        self._second.finished(item, rows)

    async def _flush_often(self) -> None:
        while True:
            await anyio.sleep(FLUSH_EVERY)
            self.file.flush()

    async def _work(self, pending: Iterator[int]) -> None:
        """Play one item after the other until there are none, or the run is stopped."""
        for item in pending:
            if self._stopped is not None:
                return
            try:
                episode = await self._play(item)
            except JournalMismatch as mismatch:
                raise RunFileError(f"{self.file.path}: episode {item}: {mismatch}") from None
            except BudgetSpent as stop:
                self._stop(stop)
                return
            except InfraError as failure:
                self._failed(failure)
                continue
            self._failed_in_a_row = 0
            self._played.append((item, episode))
            self._some_played.set()
            await anyio.lowlevel.checkpoint()  # a model that never waits must not keep Ctrl-C waiting

    def _play(self, item: int) -> Awaitable[Episode]:
        recorded = self.file.entries(item) if item in self._partial else {}
        journal = Journal(item, seed=self._seed, recorded=recorded, read=self.file.text, write=self._write)
        lab = Lab(journal.root, self._models, once=self._once)
        return play(self.recipe, lab, self.spec.seeds, self.spec.options)

    def _shared_journal(self, key: str) -> Journal:
        self.file.flush()  # what an attempt before this one was answered
        recorded = self.file.entries(SHARED, f"{key}/")
        return Journal(SHARED, seed=self._seed, recorded=recorded, read=self.file.text, write=self._write)

    def _write(self, item: int, entry: Entry, texts: Mapping[str, str], reply: Reply, name: str) -> None:
        self.file.put_entry(item, entry, texts, reply, name=name)
        self._progress(self.tally, self._budget)

    def _failed(self, failure: InfraError) -> None:
        if failure is self._stopped:  # this item met no failure: it was kept from asking by another's
            return
        self.tally.failed += 1
        (log().warning if self.tally.failed == 1 else log().info)("episode failed, stays pending", reason=str(failure))
        self._failed_in_a_row += 1
        if (isinstance(failure, CallFailed) and failure.fatal) or self._failed_in_a_row >= IN_A_ROW:
            self._stop(failure)

    def _stop(self, why: Stopped) -> None:
        """End the run at a resumable point: calls in flight finish and are journaled, no new one is begun."""
        if self._stopped is None:
            self._stopped = why
            self._budget.stopped = why


async def _crowd(n: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Work n times at once. On asyncio in a task group of its own: a task of anyio's takes 2 KB more."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # another event loop than asyncio's
        async with anyio.create_task_group() as workers:
            for _ in range(n):
                workers.start_soon(work)
        return
    async with asyncio.TaskGroup() as group:
        for _ in range(n):
            group.create_task(work())


def _first(failures: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def partial_items(file: RunFile) -> list[int]:
    """Items that have journal entries but have not finished."""
    return [
        row[0]
        for row in file.query(
            "SELECT DISTINCT item FROM journal WHERE item >= 0 AND item NOT IN (SELECT item FROM episode)"
        )
    ]


def stored_tally(file: RunFile, n: int) -> Tally:
    """How far the file says the run is."""
    tally = Tally(n=n, finished=file.one("SELECT count(*) FROM episode"))
    tally.made = file.one("SELECT count(*) FROM record WHERE verdict IS NULL OR verdict = 'kept'")
    for reason, count in file.query("SELECT reason, count(*) FROM dropped GROUP BY reason"):
        tally.drops[reason] = count
    twins = file.one("SELECT count(*) FROM record WHERE verdict <> 'kept'")
    if twins:
        tally.drops["near_duplicate"] = twins
    tally.lines, tally.fallbacks = file.row(
        "SELECT count(*), coalesce(sum(json_extract(e.value, '$.notes.fallback')), 0)"
        " FROM trace t, json_each(t.body, '$.events') e"
    ) or (0, 0)
    return tally


def stored_accounts(file: RunFile, known: Mapping[str, Account] | None = None) -> dict[str, Account]:
    """What each model was asked over all sessions, from the journal itself, so it stays exact over resumes."""
    made = dict(known or {})
    for name, calls, prompt, completion in file.query(
        "SELECT name, count(*), sum(prompt_tokens), sum(completion_tokens) FROM journal"
        " WHERE door = 'model' GROUP BY name"
    ):
        account = made.setdefault(name, Account())
        account.calls, account.prompt_tokens, account.completion_tokens = calls, prompt, completion
    return made


def difference(key: str, then: Any, now: Any) -> str:
    """One line about how a configuration differs from the one a run began with."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for name in sorted({*then, *now}):
            if then.get(name) != now.get(name):
                return difference(f"{key}.{name}", then.get(name), now.get(name))
    if isinstance(then, list) and isinstance(now, list) and len(then) + len(now) > 2:
        if len(then) != len(now):
            return f"was begun with {len(then)} {key}, not {len(now)}"
        at = next(i for i, (a, b) in enumerate(zip(then, now, strict=True)) if a != b)
        return difference(f"{key}[{at}]", then[at], now[at])
    return f"was begun with {key} {_brief(then)}, not {_brief(now)}"


def _brief(value: Any) -> str:
    return shortened(to_json(value), 60)


@dataclass(frozen=True)
class Status:
    """What `simlab status` says of a run file."""

    recipe: str
    seed: int
    version: str
    models: Mapping[str, str]
    tally: Tally
    accounts: Mapping[str, Account]
    failed: int  # attempts that got no reply, over all sessions


def status_of(path: Any) -> Status:
    """Read a run file's state; works while another process writes it."""
    file = RunFile.open(path)
    try:
        accounts = stored_accounts(file)
        for name, account in accounts.items():
            account.price = price_of(name)
        models = {role: model["name"] for role, model in file.meta("models").items()}
        tally = stored_tally(file, file.meta("n"))
        failed = file.one("SELECT coalesce(sum(failed), 0) FROM session")
        return Status(file.meta("recipe"), file.meta("seed"), file.meta("simlab"), models, tally, accounts, failed)
    finally:
        file.close()


def list_recipes() -> list[tuple[str, str]]:
    """Name and first line of each recipe on the shelf."""
    found = [name.replace("-", "_") for name in names("recipes")]
    return [(name, (inspect.getdoc(inspect.getmodule(find_recipe(name))) or "").split("\n")[0]) for name in found]


class Option(NamedTuple):
    """What `simlab recipes NAME` says of an option; what it is comes from `Annotated[type, "what it is"]`."""

    name: str
    default: str
    example: str
    about: str


def describe_recipe(name: str) -> tuple[str, list[Option]]:
    """A recipe's own words, and its options."""
    recipe = find_recipe(name)
    text = inspect.getdoc(inspect.getmodule(recipe)) or inspect.getdoc(recipe) or ""
    kinds, noted = get_type_hints(recipe), get_type_hints(recipe, include_extras=True)
    return text, [
        Option(
            key,
            "" if option.default is None else _shown(option.default),
            f"--set {key}={_example(option.default, kinds.get(key))}",
            next((note for note in getattr(noted.get(key), "__metadata__", ()) if isinstance(note, str)), ""),
        )
        for key, option in recipe_options(recipe).items()
    ]


def _shown(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _example(default: Any, kind: Any) -> str:
    """A value that is not the default where that is easy to say."""
    if isinstance(default, bool):
        return _shown(not default)
    if default is not None:
        return _shown(default)
    return "true" if bool in (kind, *get_args(kind)) else "6" if int in (kind, *get_args(kind)) else "VALUE"
