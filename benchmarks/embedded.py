"""What the embedded model gives beside its own server: `python benchmarks/embedded.py` prints tokens per second.

The same requests go, in turns in one run, to llama.cpp's server with eight slots, driven by nothing but our transport;
to simlab's model with eight slots; and to simlab's model with one. Tokens are those generated; the medians of the
rates and of the ratios within a round are shown. One thread computes in all three.
"""

import json
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from statistics import median

import anyio
import httpx

from simlab.model import Request, Sampling
from simlab.models.embedded import GGUF, Embedded, _serve, cache
from simlab.prompt import Prompt
from simlab.recipes.dialogue import GROUNDED_ANSWER, GROUNDED_FOLLOW_UP, GROUNDED_QUESTION
from simlab.transport import Transport

SLOTS = 8
ROUNDS = 3
TOKENS = 16  # of a reply, at the most
FACTS = (
    "Barn owls hear a mouse under a hand of snow.",
    "Rye grows on sandy soil where wheat fails.",
    "The moon raises two tides a day on most coasts.",
    "Glass is made of sand, soda and lime.",
    "A stone arch carries its load by pressing.",
    "Green tea is heated soon after it is picked.",
    "A knight moves in the shape of an L.",
    "Every snow crystal has six sides.",
)

Ask = Callable[[Request], Awaitable[int]]  # gives the tokens of the reply


def lines(turn: int) -> list[Request]:
    """Three requests about each fact as the recipe for dialogues makes them: a head of examples, a short reply."""
    prompts = (GROUNDED_QUESTION, GROUNDED_ANSWER, GROUNDED_FOLLOW_UP)
    tuned = [prompt.tuned(Sampling(max_tokens=TOKENS)) for prompt in prompts]
    asked = [prompt.request("user", {"says": fact, "heard": "What is so?"}) for fact in FACTS for prompt in tuned]
    return [replace(request, seed=1000 * turn + i) for i, request in enumerate(asked)]


def texts(turn: int) -> list[Request]:
    """A request about each fact with no head, and a long reply."""
    prompt = Prompt("text", ask="Tell a long story about this: {says}", sampling=Sampling(max_tokens=4 * TOKENS))
    asked = [prompt.request("user", {"says": fact}) for fact in FACTS]
    return [replace(request, seed=1000 * turn + i) for i, request in enumerate(asked)]


LOADS = {"short lines": lines, "long texts": texts}


async def rate(ask: Ask, waiting: list[Request]) -> float:
    """Tokens per second, with as many calls at once as there are slots."""
    tokens = 0

    async def work() -> None:
        nonlocal tokens
        while waiting:
            tokens += await ask(waiting.pop())

    began = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(SLOTS):
            group.start_soon(work)
    return tokens / (time.perf_counter() - began)


def body(request: Request) -> bytes:
    options = request.sampling
    return json.dumps(
        {
            "messages": [{"role": message.role, "content": message.text} for message in request.messages],
            "seed": request.seed,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_tokens,
            "stop": options.stop,
            "cache_prompt": True,
        }
    ).encode()


async def main() -> None:
    """Measure and print."""
    key = secrets.token_hex(8)
    models = Embedded(cache() / GGUF, slots=SLOTS), Embedded(cache() / GGUF)
    with tempfile.TemporaryDirectory() as scratch:
        server = await anyio.to_thread.run_sync(_serve, cache() / GGUF, scratch, key, SLOTS)
        where = httpx.URL(f"{server.listening_address}/v1/chat/completions")
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        async with Transport() as transport:

            async def bare(request: Request) -> int:
                sent = httpx.Request("POST", where, headers=headers, content=body(request))
                response = await transport.handle_async_request(sent)
                return int(json.loads(response.read())["usage"]["completion_tokens"])

            async def many(request: Request) -> int:
                return (await models[0].reply(request)).usage.completion

            async def one(request: Request) -> int:
                return (await models[1].reply(request)).usage.completion

            asks = {f"the server, {SLOTS} slots": bare, f"`embedded:slots={SLOTS}`": many, "`embedded`": one}
            took: dict[tuple[str, str], list[float]] = {(name, load): [] for load in LOADS for name in asks}
            for turn in range(ROUNDS + 1):
                for (name, load), rates in took.items():
                    rates.append(await rate(asks[name], LOADS[load](turn)))
        for model in models:
            await model.aclose()
    print(f"| model |{''.join(f' {load}: tokens per second | ratio |' for load in LOADS)}")
    print("|---" * (1 + 2 * len(LOADS)) + "|")
    for name in asks:
        cells = [name]
        for load in LOADS:
            # the first round loads weights and fills caches; what is compared was measured one after the other
            rates, server_rates = took[name, load][1:], took[next(iter(asks)), load][1:]
            ratios = [one / other for one, other in zip(rates, server_rates, strict=True)]
            cells += [f"{median(rates):.2f}", f"{median(ratios):.2f}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    anyio.run(main)
