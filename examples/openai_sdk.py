"""An agent made with the `openai` package: what the SDK returns is an answer as it is.

The endpoint and the key come from OPENAI_BASE_URL and OPENAI_API_KEY.

    simlab eval --agent examples.openai_sdk:agent --scenarios 'scenarios/library/*.yaml'
"""

from typing import Any

from openai import AsyncOpenAI


async def agent(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Any:
    """One completion a turn; simlab makes the calls that are in it and comes back with their results."""
    async with AsyncOpenAI() as client:
        completion = await client.chat.completions.create(model="clerk", messages=messages, tools=tools)  # type: ignore[arg-type]
    return completion.choices[0].message
