"""The recipe that is measured: talks of two speakers, six calls each, in requests of about 4 KB."""

from collections.abc import AsyncIterator

from simlab.lab import Lab, Seeds
from simlab.model import Sampling
from simlab.prompt import Prompt
from simlab.record import Dialogue
from simlab.roles import Assistant, UserSimulator

CALLS = 6  # in a talk: three lines of the user, three of the assistant
TOPICS = ("tides", "owls", "rye", "bridges", "glass", "tea", "chess", "snow")
RULES = "".join(f"{i}. Say what holds for case {i} before what holds in general, and where.\n" for i in range(46))
OPENING = Prompt("opening", system=f"You want to know something about {{topic}}.\n{RULES}", ask="Begin.")
LINE = Prompt("line", system=f"You want to know more about {{topic}}.\n{RULES}", sampling=Sampling(temperature=1.0))
ANSWER = Prompt("answer", system=f"You answer questions.\n{RULES}", sampling=Sampling(temperature=0.7, max_tokens=400))


class Gauge:
    """How many there are now, and how many there were at the most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __enter__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def __exit__(self, *exc: object) -> None:
        self.now -= 1


live = Gauge()


async def talk(lab: Lab, seeds: Seeds, *, rounds: int = CALLS // 2) -> AsyncIterator[Dialogue]:
    """Yield one talk about a topic."""
    with live:
        view = {"topic": seeds.topics[lab.item % len(seeds.topics)]}
        opening = await lab.say("user", OPENING, view)
        user = UserSimulator(lab.model("user"), LINE, view, rounds=rounds, opening=opening.text)
        trace = await lab.simulate([user, Assistant(lab.model("assistant"), ANSWER, view)])
        said = "\n".join(message.text for message in trace.messages)
        yield Dialogue(messages=trace.view("assistant"), meta=view, trace=trace, distinct=said)
