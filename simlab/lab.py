"""The lab is what a recipe is given for one item: models by role, a die, and `ask`, `say`, `simulate`, `map`, `once`.

A recipe is one async generator `(lab, seeds, *, options)` that yields records; it is called once per item, and
may raise Drop. Everything it draws and asks goes through the lab, which is what makes an item repeatable.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import anyio

from simlab.agent import Agent
from simlab.api import ApiSource
from simlab.die import Die
from simlab.errors import AgentFault, Drop, InputError
from simlab.journal import Branch, Journal
from simlab.message import ChatMessage
from simlab.model import Model
from simlab.prompt import Check, Prompt, Worded, anything, word
from simlab.quality.near_duplicates import sketch
from simlab.record import Record, pack
from simlab.runfile import EpisodeRows
from simlab.scenario import AnyScenario
from simlab.schema import NotJson, problems, read_json, to_json
from simlab.simulation import Simulation, together
from simlab.trace import Trace

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Seeds:
    """What a run starts from; all of it is kept in the run file, so that a replay needs nothing else.

    `n` is not among it: an item's seeds may not depend on how many items there are.
    """

    topics: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    scenarios: tuple[AnyScenario, ...] = ()
    apis: tuple[ApiSource, ...] = ()

    @property
    def limit(self) -> int | None:
        """How many items there can be at the most, or None."""
        return len(self.questions) or None


class Recipe(Protocol):
    """The contract of the shelf `simlab/recipes/`."""

    __name__: str

    def __call__(self, lab: "Lab", seeds: Seeds, /, **options: Any) -> AsyncIterator[Record]:
        """Yield the records of one item."""
        ...


@dataclass
class Episode:
    """What one item has made so far."""

    traces: list[Trace] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    drops: list[tuple[str, str]] = field(default_factory=list)
    measures: dict[str, Any] = field(default_factory=dict)
    outcome: str = "made"

    def rows(self) -> EpisodeRows:
        """The form that is stored and compared."""
        texts: dict[str, str] = {}
        for trace in self.traces:
            texts.update(trace.texts())
        records = [
            (record.type, pack(record, self.traces, texts), sketch(record.distinct) if record.distinct else None)
            for record in self.records
        ]
        traces = [to_json(trace.as_json()) for trace in self.traces]
        return EpisodeRows(self.outcome, to_json(self.measures), traces, records, self.drops, texts)


class Once:
    """Work shared by all items, done once: whoever asks first does it, under a branch of its own.

    A Drop is a result like any other: it depends on the recorded replies alone, and every item gets it.
    """

    def __init__(self, journal_of: Callable[[str], Journal]) -> None:
        self._journal_of = journal_of
        self._made: dict[str, Any] = {}
        self._making: dict[str, anyio.Event] = {}
        self.journals: dict[str, Journal] = {}

    async def get(self, key: str, make: Callable[[Branch], Awaitable[T]]) -> T:
        """The shared result for a key; a failure of the infrastructure is not kept, the next to ask tries again."""
        while key not in self._made:
            if key in self._making:
                await self._making[key].wait()
                continue
            done = self._making[key] = anyio.Event()
            try:
                journal = self.journals[key] = self._journal_of(key)
                self._made[key] = await make(Branch(journal, f"{key}/"))
            except Drop as drop:
                self._made[key] = drop
            finally:
                del self._making[key]
                done.set()
        if isinstance(self._made[key], Drop):
            raise self._made[key]
        return cast(T, self._made[key])


class Lab:
    """One item's workplace; `map` and `once` hand out labs on branches of their own."""

    def __init__(
        self,
        branch: Branch,
        models: Mapping[str, Model],
        *,
        episode: Episode | None = None,
        once: Once | None = None,
    ) -> None:
        self.branch = branch
        self._models = models
        self._episode = episode or Episode()
        self._once = once or Once(lambda key: Journal(-1, seed=branch.journal.seed))

    @property
    def item(self) -> int:
        """The number of the item, from 0; below 0 for shared work."""
        return self.branch.journal.item

    @property
    def die(self) -> Die:
        """The item's die; all random choices come from it."""
        return self.branch.die

    def small(self, role: str) -> bool:
        """Whether the role's model needs its hand held (short prompts, constraints, checks, templates)."""
        return self.model(role).small

    def model(self, role: str) -> Model:
        """The model that plays a role; raises InputError when none was given."""
        if role not in self._models:
            raise InputError(f"no model was given for the role {role!r}; give --model {role}=SPEC")
        return self._models[role]

    async def ask(
        self,
        role: str,
        prompt: Prompt | str,
        view: Mapping[str, Any] | None = None,
        *,
        chat: Sequence[ChatMessage] = (),
        tries: int = 3,
    ) -> Any:
        """Ask a role for an answer: text, or the object that the prompt's JSON Schema describes.

        An answer that is refused, cut off, empty, no JSON or invalid is asked for again; raises Drop with the
        last fault's code after so many tries.
        """
        if isinstance(prompt, str):  # a plain text is said as it is, braces and all
            prompt, view = Prompt("ask", ask="{asked}"), {**(view or {}), "asked": prompt}
        request = prompt.request(role, view or {}, tuple(chat))
        model, fault, detail = self.model(role), "", ""
        for _ in range(tries):
            reply = await self.branch.ask(model, request)
            if (fault := reply.fault or "") != "":
                continue
            if prompt.schema is None:
                return reply.text
            try:
                value = read_json(_unfenced(reply.text))
            except NotJson as error:
                fault, detail = "bad_json", str(error)
                continue
            if not (wrong := problems(value, prompt.schema)):
                return value
            fault, detail = "wrong_shape", wrong[0]
        raise Drop(fault, detail or f"{role} at {prompt.step}, {tries} tries")

    async def say(
        self,
        role: str,
        prompt: Prompt,
        view: Mapping[str, Any],
        *,
        chat: Sequence[ChatMessage] = (),
        check: Check = anything,
        tries: int = 3,
        template: str | None = None,
    ) -> Worded:
        """Have a role word one line under a check; falls back to the template, else raises Drop."""
        ask = partial(self.branch.ask, self.model(role))
        return await word(ask, prompt.request(role, view, tuple(chat)), check=check, tries=tries, template=template)

    async def simulate(
        self, agents: Sequence[Agent], *, opens: str | None = None, turns: int = 64, keep_faults: bool = False
    ) -> Trace:
        """Play one simulation to its end on this lab's branch; its trace is kept with the item.

        An agent's fault drops the item, unless `keep_faults` has the trace returned as it is, to be judged.
        """
        simulation = Simulation(agents, opens=opens, turns=turns, branch=self.branch)
        self._episode.traces.append(simulation.trace)
        try:
            trace = await simulation.run()
        except Drop as drop:  # a simulated speaker could not go on: no fault of the agent it talks to
            simulation.trace.end = "agent_error" if drop.by == "assistant" else "sim_error"
            simulation.trace.detail = str(drop)
            raise
        if trace.end == "agent_error" and not keep_faults:
            raise Drop("agent_error", trace.detail)
        return trace

    async def map(self, work: "Callable[[Lab, T], Awaitable[U]]", things: Sequence[T]) -> list[U]:
        """Do the same to several things at the same time, each on a branch of its own; results in order."""
        branches = self.branch.split(len(things))
        labs = [self._on(branch) for branch in branches]
        return await together([partial(work, lab, thing) for lab, thing in zip(labs, things, strict=True)])

    async def once(self, key: str, work: "Callable[[Lab], Awaitable[T]]") -> T:
        """Do work that all items share, once per run; what it draws and asks depends on the key alone."""
        return await self._once.get(key, lambda branch: work(Lab(branch, self._models, once=self._once)))

    def drop(self, reason: str, detail: str = "") -> None:
        """Count a record that was not made, and go on with the item."""
        self._episode.drops.append((reason, detail))

    def measure(self, **figures: Any) -> None:
        """Keep figures about the item for `simlab report`."""
        self._episode.measures.update(figures)

    def _on(self, branch: Branch) -> "Lab":
        return Lab(branch, self._models, episode=self._episode, once=self._once)


def _unfenced(text: str) -> str:
    """JSON without the code fence some models put around it."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text.removeprefix("```json").removeprefix("```").removesuffix("```")
    return text


async def play(recipe: Recipe, lab: Lab, seeds: Seeds, options: Mapping[str, Any]) -> Episode:
    """Run a recipe for the lab's item; drops and agents' faults are part of what it made, bugs propagate."""
    episode = lab._episode
    try:
        records: Any = recipe(lab, seeds, **options)
        async with aclosing(records):
            async for record in records:
                episode.records.append(record)
    except Drop as drop:
        episode.drops.append((drop.reason, drop.detail))
    except AgentFault as fault:
        episode.drops.append(("agent_error", str(fault)))
    if not episode.records:
        episode.outcome = "dropped"
    return episode
