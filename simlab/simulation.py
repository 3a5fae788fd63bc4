"""The event loop: a heap of deliveries ordered by (virtual time, sequence).

One `step` delivers the next instant, hears its listeners and posts what they answer. Turn-taking falls out of
it, and so do several agents in one room, private channels, interceptors, interjections at a time, users who
write twice or give up waiting. There is no turn order to configure and no flag that ends the talk: an empty
heap does. Virtual time costs nothing to wait for.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple, TypeVar, cast

import anyio

from simlab.agent import Agent, Answer, End, Said, Seat, Turn, Wake
from simlab.errors import AgentFault
from simlab.journal import Branch, Journal
from simlab.message import Message
from simlab.trace import Event, Trace

T = TypeVar("T")


async def together(jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run jobs at the same time; all finish, results come in order, the first failure in order is raised."""
    if len(jobs) == 1:
        return [await jobs[0]()]
    results: list[T | None] = [None] * len(jobs)
    failures: dict[int, Exception] = {}

    async def run(i: int) -> None:
        try:
            results[i] = await jobs[i]()
        except Exception as error:
            failures[i] = error

    async with anyio.create_task_group() as group:
        for i in range(len(jobs)):
            group.start_soon(run, i)
    if failures:
        raise failures[min(failures)]
    return cast("list[T]", results)


class Delivery(NamedTuple):
    """Something that happens at a virtual time: a message is heard, or (message None) an agent is woken."""

    time: float
    sequence: int
    message: Message | None
    listeners: tuple[str, ...]


class Simulation:
    """One room of agents; the first of them opens the talk unless `opens` names another.

    `turns` limits the messages heard in all. Without a `branch` nothing is recorded, and dice fall as in a
    run with seed 0. Iterate over a simulation to watch its events as they happen, or await `run()`.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        *,
        opens: str | None = None,
        turns: int = 64,
        branch: Branch | None = None,
    ) -> None:
        self._agents = {agent.name: agent for agent in agents}
        if len(self._agents) != len(agents) or not agents:
            raise ValueError("a simulation needs at least one agent, and each a name of its own")
        if opens is not None and opens not in self._agents:
            raise ValueError(f"{opens!r} cannot open the talk: not in the room")
        services = tuple(agent.name for agent in agents if getattr(agent, "service", False))
        self._others = {name: tuple(other for other in self._agents if other != name) for name in self._agents}
        self._seats = {name: Seat(name, len(agents) - len(services) - 1) for name in self._agents}
        self._interceptors = [agent for agent in agents if hasattr(agent, "intercept")]
        self._branch = branch or Journal().root
        self._turns = turns
        self._heap: list[Delivery] = []
        self._sequence = 0
        self.now = 0.0
        self.trace = Trace(cast=tuple(self._agents), services=services)
        self._push(0.0, None, (opens or agents[0].name,))

    @property
    def end(self) -> str:
        """Why it ended, one of trace.ENDS; empty while it goes on."""
        return self.trace.end

    def post(self, message: Message) -> None:
        """Put a message on its way, to be heard `message.delay` virtual seconds from now."""
        for name in message.to:
            if name not in self._agents:
                raise AgentFault(f"{message.sender} writes to {name!r}, who is not in the room")
        listeners = message.to or self._others.get(message.sender, tuple(self._agents))
        if message.sender in self._seats:
            self._seats[message.sender].add(message)
        self._push(self.now + message.delay, message, listeners)

    async def step(self) -> list[Event]:
        """Deliver the next instant, hear its listeners, post what they answer; returns the instant's events."""
        if self.trace.end:
            return []
        if not self._heap:
            self._finish(End("completed"))
            return []
        heard, events = self._deliver()
        if len(self.trace.events) >= self._turns:
            self._finish(End("turn_limit"))
            return events
        before = self._sequence
        try:
            ends: list[End] = []
            for name, answer in await self._hear(heard):
                if answer is not None:
                    await self._post(name, answer, ends)
        except AgentFault as fault:
            ends = [End("agent_error", str(fault))]
        if ends:  # what was said together with the end is still heard; what was on its way before is not
            self._heap = sorted(delivery for delivery in self._heap if delivery.sequence >= before)
            while self._heap:
                events += self._deliver()[1]
            self._finish(ends[0])
        return events

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Step until the end, passing on each event as it happens."""
        while not self.end:
            for event in await self.step():
                yield event

    async def run(self) -> Trace:
        """Step until the end; returns the trace."""
        while not self.trace.end:
            await self.step()
        return self.trace

    def _push(self, time: float, message: Message | None, listeners: tuple[str, ...]) -> None:
        heappush(self._heap, Delivery(time, self._sequence, message, listeners))
        self._sequence += 1

    def _deliver(self) -> tuple[dict[str, list[Message]], list[Event]]:
        """Pop all that happens at the next time: who heard what, and the events it makes."""
        self.now = self._heap[0].time
        heard: dict[str, list[Message]] = {}
        events: list[Event] = []
        while self._heap and self._heap[0].time == self.now:
            _, _, message, listeners = heappop(self._heap)
            for name in listeners:
                heard.setdefault(name, [])
                if message is not None:
                    heard[name].append(message)
                    self._seats[name].add(message)
            if message is not None:
                events.append(Event(self.now, message, listeners))
        self.trace.events += events
        return heard, events

    async def _hear(self, heard: dict[str, list[Message]]) -> list[tuple[str, Answer]]:
        """Give every listener its turn, at the same time where there are several; answers in order of the cast."""
        if len(heard) == 1:  # a task group costs as much as a model call's HTTP
            ((name, messages),) = heard.items()
            turn = Turn(tuple(messages), self._seats[name], self.now, self._branch)
            return [(name, await self._agents[name].reply(turn))]
        names = [name for name in self._agents if name in heard]
        branches = self._branch.split(len(names))
        turns = [
            Turn(tuple(heard[name]), self._seats[name], self.now, branch)
            for name, branch in zip(names, branches, strict=True)
        ]
        jobs = [
            lambda agent=self._agents[name], turn=turn: agent.reply(turn)
            for name, turn in zip(names, turns, strict=True)
        ]
        return list(zip(names, await together(jobs), strict=True))

    async def _post(self, name: str, answer: Said | Sequence[Said], ends: list[End]) -> None:
        """Put an agent's answer on its way; the ends it asks for are added to `ends`."""
        several = not isinstance(answer, (str, Message)) and isinstance(answer, Sequence)
        for one in cast("Sequence[Said]", answer if several else [answer]):
            if isinstance(one, (str, Message)):
                message: Message | None = one if isinstance(one, Message) else Message(name, one)
                if self._interceptors:
                    message = await self._intercepted(cast(Message, message))
                if message is not None:
                    self.post(message)
            elif isinstance(one, End):
                ends.append(one)
            elif isinstance(one, Wake):
                self._push(self.now + one.after, None, (name,))
            else:
                raise TypeError(f"{name} replied with {type(one).__name__}, not a str, Message, End, Wake or None")

    async def _intercepted(self, message: Message) -> Message | None:
        for agent in self._interceptors:
            name = agent.name
            if name != message.sender:
                turn = Turn((), self._seats[name], self.now, self._branch)
                changed = await agent.intercept(message, turn)
                if changed is None:
                    return None
                message = changed
        return message

    def _finish(self, end: End) -> None:
        self.trace.end, self.trace.detail = end.reason, end.detail
