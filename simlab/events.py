"""What simlab has to say while it works: structlog events, to stderr, warnings and worse.

Importing this configures nothing: the logger carries its own level and stream until an application calls
`structlog.configure`, which the command line does and a library never should.
"""

import logging
import sys
from functools import lru_cache
from typing import Any, TextIO, cast


class _Stderr:
    """Whatever stderr is at the moment: it may be replaced after the logger was made."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@lru_cache(maxsize=1)
def log() -> Any:
    """The logger of this package."""
    import structlog

    if structlog.is_configured():
        return structlog.get_logger("simlab")
    return structlog.wrap_logger(
        structlog.PrintLogger(cast(TextIO, _Stderr())),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


def configure(*, as_json: bool = False, level: int = logging.WARNING) -> None:
    """Configure structlog for a process of which simlab is the application."""
    import structlog

    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=True,
    )
