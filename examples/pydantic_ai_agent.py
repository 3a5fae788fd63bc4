"""An agent made with pydantic-ai, which calls the API itself: at the address of its own session.

The endpoint and the key come from OPENAI_BASE_URL and OPENAI_API_KEY.

    simlab eval --agent examples.pydantic_ai_agent:agent --scenarios scenarios/library/clarify-03.yaml
"""

from typing import Any

import httpx
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.openai import OpenAIChatModel

clerk = Agent(deps_type=str, instructions="You are a clerk in a library.", defer_model_check=True)


@clerk.tool
async def renewLoan(context: RunContext[str], memberId: str, loanId: str, dueOn: str) -> Any:  # noqa: N802, N803
    """Lend a book for longer."""
    async with httpx.AsyncClient(base_url=context.deps, trust_env=False) as http:
        answer = await http.post(f"/members/{memberId}/loans/{loanId}/renew", json={"dueOn": dueOn})
    return answer.json() if answer.is_success else {"error": answer.text}


async def agent(messages: list[dict[str, Any]], base_url: str) -> str:
    """One run of the framework a turn, over what was said so far."""
    history: list[ModelMessage] = []
    for message in messages[:-1]:
        if message["role"] == "user":
            history.append(ModelRequest([UserPromptPart(message["content"])]))
        elif message["role"] == "assistant" and message["content"]:
            history.append(ModelResponse([TextPart(message["content"])]))
    model = OpenAIChatModel("clerk")
    result = await clerk.run(messages[-1]["content"], model=model, deps=base_url, message_history=history)
    return str(result.output)
