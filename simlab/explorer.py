"""What a served API says of itself: its document as it was understood, and a page to read and try it with.

The page is one file: no script, style or font comes from elsewhere.
"""

import shlex
from collections.abc import Mapping
from html import escape
from typing import Any

from simlab.api import Api, Operation
from simlab.die import Die
from simlab.errors import InputError
from simlab.route import real_path
from simlab.schema import to_json
from simlab.spec import HERE
from simlab.wire import Wire, encoded
from simlab.world import World, example_call, seeded

TRIES = 60  # calls tried until one works, to show as an example

# ── the document ───────────────────────────────────────────────────────────────────────────────────────────────


def document_of(api: Api, base: str) -> dict[str, Any]:
    """The document as compiled: OpenAPI 3.1, this server its only one, operations that cannot be simulated left out."""
    document: dict[str, Any] = _local(api.document)
    document["openapi"] = "3.1.0"
    document["servers"] = [{"url": base}]
    known = {(operation.path, operation.method.lower()): operation for operation in api.operations.values()}
    paths: dict[str, Any] = {}
    for path, item in document["paths"].items():
        item = _local(api.resolve(api.document["paths"][path])) if "$ref" in item else item
        kept: dict[str, Any] = {}
        for key, node in item.items():
            operation = known.get((path, key))
            if operation is not None:
                kept[key] = {**{k: v for k, v in node.items() if k != "servers"}, "operationId": operation.id}
            elif key in ("parameters", "summary", "description"):
                kept[key] = node
        if any((path, key) in known for key in kept):
            paths[path] = kept
    return {**document, "paths": paths}


def _local(node: Any) -> Any:
    """A copy with references as they are within a document."""
    if isinstance(node, Mapping):
        return {k: v.removeprefix(HERE) if k == "$ref" and isinstance(v, str) else _local(v) for k, v in node.items()}
    return [_local(one) for one in node] if isinstance(node, list) else node


# ── the page ───────────────────────────────────────────────────────────────────────────────────────────────────

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
summary { display: grid; grid-template-columns: 5rem 1fr 6rem 9rem; gap: .5rem; cursor: pointer; padding: .2rem 0 }
code, pre, textarea, input { font: 13px/1.4 ui-monospace, monospace; box-sizing: border-box }
textarea, input { width: 100%; margin: .2rem 0 } textarea { height: 7rem }
pre { background: #f4f4f4; padding: .6rem; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere }
details { border-top: 1px solid #ddd } details > div { padding: .2rem 0 1rem 5.5rem } .write { color: #a33 }
"""
_SCRIPT = """
document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, out = form.querySelector("pre"), said = {method: form.dataset.method};
  const headers = JSON.parse(form.dataset.headers), body = form.querySelector("textarea");
  if (body) said.body = body.value;
  try {
    const answer = await fetch(form.dataset.base + form.querySelector("input").value, {...said, headers});
    out.textContent = answer.status + "\\n" + await answer.text();
  } catch (error) { out.textContent = String(error); }
});
"""


def page_of(api: Api, origin: str, base: str, seed: int) -> str:
    """A page of all operations, each with an example that works and a form to send it.

    The API is at the path `base` of `origin`, a scheme and a host.
    """
    world = seeded(api, seed)
    rows = "\n".join(_row(world, operation, origin, base) for operation in api.operations.values())
    aside = "".join(f"<li><code>{escape(one.method)} {escape(one.path)}</code>: {escape(one.why)}" for one in api.aside)
    left_out = f"<h2>Not simulated</h2><ul>{aside}</ul>" if aside else ""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(api.title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(api.title)}</h1><p>{escape(api.description)}</p>"
        f"<p>A simulated API of {len(api.operations)} operations on {len(api.resources)} kinds of record;"
        f' <a href="{escape(base)}/openapi.json">the document</a>.</p>{rows}{left_out}<script>{_SCRIPT}</script>'
    )


def _row(world: World, operation: Operation, origin: str, base: str) -> str:
    kind = ' class="write"' if operation.writes else ""
    said = escape(operation.summary or operation.description)
    return (
        f"<details><summary><b{kind}>{operation.method}</b><code>{escape(operation.path)}</code>"
        f"<span>{escape(operation.effect)}</span><span>{escape(operation.resource)}</span></summary>"
        f"<div><p><code>{escape(operation.id)}</code> {said}</p>{_form(world, operation, origin, base)}</div></details>"
    )


def _form(world: World, operation: Operation, origin: str, base: str) -> str:
    wire = _example(world, operation)
    headers = {name: text for name, text in wire.headers.items() if name != "cookie"}
    body = f"<textarea>{escape(wire.content.decode())}</textarea>" if wire.content else ""
    return (
        f'<form data-method="{operation.method}" data-base="{escape(base)}" data-headers="{escape(to_json(headers))}">'
        f'<input value="{escape(wire.path_and_query)}">{body}<button>Send</button>'
        f"<pre>{escape(curl(wire, origin + base))}</pre></form>"
    )


def _example(world: World, operation: Operation) -> Wire:
    """A request that works, or the last that was tried."""
    wire = Wire(operation.method, real_path(operation.path))
    for number in range(TRIES):
        arguments = example_call(world, operation, Die("page", operation.id, number), optional=0.3)
        try:
            wire = encoded(world.api, operation, arguments)
        except InputError:  # no such call has a form on the wire
            continue
        if world.copy().call(operation.id, arguments).ok:
            break
    return wire


def curl(wire: Wire, base: str) -> str:
    """A request as a shell command."""
    words = ["curl"] if wire.method == "GET" else ["curl", "-X", wire.method]
    for name, text in wire.headers.items():
        words += ["-H", f"{name}: {text}"]
    if wire.content:
        words += ["--data-binary", wire.content.decode()]
    return shlex.join([*words, base + wire.path_and_query])
