"""`openai:NAME`: any endpoint that speaks the chat-completions dialect, by default the public one.

openai:gpt-4o-mini                              the key is read from OPENAI_API_KEY, and from nowhere else
openai:qwen3@http://127.0.0.1:8000/v1           another endpoint; the key is sent when it is set
OPENAI_BASE_URL=https://gateway.example/v1      the same for every `openai:NAME` without an @URL
"""

import os
import re
from typing import Any

from simlab.endpoint import Endpoint
from simlab.errors import InputError

PUBLIC_URL = "https://api.openai.com/v1"
KEY, BASE_URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"


def openai(argument: str = "", *, base_url: str | None = None, **options: Any) -> Endpoint:
    """Make the model of a spec; `argument` is what follows `openai:`, and Endpoint describes further options.

    Raises InputError for an empty name, an unusable URL, or a key that is missing or cannot be sent.
    """
    if not argument:
        raise InputError("openai needs a model: openai:NAME")
    if "@" in argument and re.search(r"@[\w.-]+(?::\d+|/)", argument):
        raise InputError(f"openai:{argument}: a URL after @ begins with http:// or https://")
    given = base_url or os.environ.get(BASE_URL)
    key = _key(required=given is None)
    return Endpoint(
        f"openai:{argument}",
        argument,
        base_url=given or PUBLIC_URL,
        key=key,
        key_hint=f"a key is needed in {KEY}",
        **options,
    )


def _key(*, required: bool) -> str:
    """The key from the environment; raises InputError when it is required and missing, or cannot be sent."""
    key = os.environ.get(KEY, "").strip()
    if not key and required:
        raise InputError(f"the environment variable {KEY} is not set; {PUBLIC_URL} needs a key")
    # The HTTP library would quote such a key in its error.
    if not all("!" <= character <= "~" for character in key):
        raise InputError(f"the environment variable {KEY} holds characters that no key has")
    return key
