"""Other clients and frameworks, each with the least code that has it make a call; those not installed are left out.

A neighbour is an async context manager `(url) -> call`; a call is one reply, or a talk of CALLS replies where the
framework has talks of two agents.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from typing import NamedTuple

from talks import CALLS, RULES

Call = Callable[[], Awaitable[object]]


class Neighbour(NamedTuple):
    """Its module, what opens it, and how many replies one call of it takes."""

    module: str
    opened: Callable[[str], AbstractAsyncContextManager[Call]]
    replies: int = 1

    @property
    def installed(self) -> bool:
        return find_spec(self.module) is not None


@asynccontextmanager
async def openai_sdk(url: str) -> AsyncIterator[Call]:
    import httpx
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", http_client=DefaultAsyncHttpxClient(limits=limits))
    messages = [{"role": "user", "content": RULES}]
    async with client:
        yield lambda: client.chat.completions.create(model="mock", messages=messages)  # type: ignore[arg-type]


@asynccontextmanager
async def pydantic_ai(url: str) -> AsyncIterator[Call]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("mock", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="none"))
    agents = Agent(model, instructions=RULES), Agent(model, instructions=RULES)

    async def talk() -> None:
        """Each agent goes on from what the other said last, with a history of its own."""
        said, histories = "Begin.", [[], []]
        for turn in range(CALLS):
            made = await agents[turn % 2].run(said, message_history=histories[turn % 2])
            said, histories[turn % 2] = made.output, made.all_messages()

    yield talk


@asynccontextmanager
async def autogen(url: str) -> AsyncIterator[Call]:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_agentchat.teams import RoundRobinGroupChat
    from autogen_core.models import ModelFamily, ModelInfo
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    info = ModelInfo(
        vision=False, function_calling=False, json_output=False, family=ModelFamily.UNKNOWN, structured_output=False
    )
    client = OpenAIChatCompletionClient(model="mock", base_url=f"{url}/v1", api_key="none", model_info=info)

    async def talk() -> None:
        agents = [AssistantAgent(name, client, system_message=RULES) for name in ("user", "assistant")]
        await RoundRobinGroupChat(agents, max_turns=CALLS).run(task="Begin.")

    yield talk
    await client.close()


NEIGHBOURS = {
    "`openai`, its SDK": Neighbour("openai", openai_sdk),
    "`pydantic_ai`, two agents": Neighbour("pydantic_ai", pydantic_ai, CALLS),
    "`autogen_agentchat`, two agents": Neighbour("autogen_agentchat", autogen, CALLS),
}
