"""What people see on a terminal: progress, tables, conversations."""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from simlab.errors import shortened
from simlab.evaluation import Evaluation
from simlab.inspection import Group, Inspection, OperationDetail
from simlab.limits import Account, Budget
from simlab.message import ChatMessage
from simlab.quality.rates import Rate
from simlab.report import DialogueReport, ElephantReport, ToolReport
from simlab.run import Tally
from simlab.schema import to_json, to_ordered_json
from simlab.trace import Trace

FIRST_FAULTS = 5  # of those that the validator found, that are printed
if TYPE_CHECKING:
    from simlab.scoring import Scored

EVERY = 10.0  # seconds between lines of progress where there is no terminal

out = Console(highlight=False)
PIPED = not sys.stdout.isatty()  # then lines are not wrapped
wide = Console(highlight=False, width=10_000) if PIPED else out  # for tables
err = Console(stderr=True, highlight=False, soft_wrap=True)


def _bar() -> Progress:
    """A bar with how many of how many, the time that is left, and a note."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=err,
    )


class Counting:
    """Shows how far a count is: a live bar on a terminal, a line every ten seconds elsewhere, nothing when quiet."""

    def __init__(self, what: str, total: int, *, quiet: bool = False) -> None:
        self._what, self._total, self._quiet = what, total, quiet
        self._next = time.monotonic() + EVERY
        self._bar = _bar() if sys.stderr.isatty() and not quiet else None

    def __enter__(self) -> "Counting":
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total, note="")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, percent: float | None = None) -> None:
        """Show how many are done, and how much that covers."""
        note = "" if percent is None else f"coverage {percent:.1f} %"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=note)
        elif not self._quiet and time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            err.print(f"{self._what}: {done} of {self._total} {note}".rstrip(), markup=False)


class Watcher:
    """Shows how a run goes: a live bar on a terminal, a line every ten seconds elsewhere, nothing when quiet."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        self._what, self._quiet = what, quiet
        self._live = sys.stderr.isatty() and not quiet
        self._next = time.monotonic() + (0 if self._live else EVERY)
        self._bar: Progress | None = None

    def __enter__(self) -> "Watcher":
        if self._live:
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=None, note="")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, tally: Tally, budget: Budget) -> None:
        """Take note of how far the run is."""
        now = time.monotonic()
        if self._bar is not None:
            if now < self._next and tally.finished < tally.n:
                return
            self._next = now + 0.1
            self._bar.update(self._task, total=tally.n, completed=tally.finished, note=_note(tally, budget))
        elif not self._quiet and now >= self._next:
            self._next = now + EVERY
            err.print(f"{self._what}: {tally.finished} of {tally.n} items, {_note(tally, budget)}")


def _note(tally: Tally, budget: Budget) -> str:
    dropped = sum(tally.drops.values())
    return f"{tally.made} made, {dropped} dropped, {budget.total('calls')} calls, {spent(budget.accounts)}"


def spent(accounts: Mapping[str, Account]) -> str:
    """Tokens and cost over all models; `?` where a price is not known."""
    tokens = sum(a.tokens for a in accounts.values())
    costs = [a.cost for a in accounts.values()]
    cost = "?" if None in costs else f"{sum(c or 0 for c in costs):.4f}".rstrip("0").rstrip(".")
    return f"{tokens:,} tokens, ${cost}"


def summary(tally: Tally, accounts: Mapping[str, Account], failed: int | None = None) -> None:
    """Print what a run has made so far, what it dropped and why, and what it cost.

    `failed` are attempts over all sessions, where they are known of all models together.
    """
    counts = Table(box=None, show_header=False, pad_edge=False)
    counts.add_row(
        "items", f"{tally.finished} of {tally.n} finished" + (f", {tally.failed} failed" if tally.failed else "")
    )
    counts.add_row("records", str(tally.made))
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(tally.drops.items()))
    counts.add_row("dropped", f"{sum(tally.drops.values())}" + (f" ({reasons})" if reasons else ""))
    if tally.lines:
        share = tally.fallbacks / tally.lines
        counts.add_row("fallbacks", f"{tally.fallbacks} of {tally.lines} lines ({share:.0%}) taken from a template")
    if failed:
        counts.add_row("failed", f"{failed} attempts in all sessions")
    out.print(counts)
    usage(accounts, attempts=failed is None)


def usage(accounts: Mapping[str, Account], *, attempts: bool = True) -> None:
    """Print a line per model: calls, tokens, failed attempts where they are known of each, cost."""
    if not accounts:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    for column in ("calls", "prompt tokens", "completion tokens", *["failed attempts"] * attempts, "cost $"):
        table.add_column(column, justify="right")
    for name, account in sorted(accounts.items()):
        cost = "?" if account.cost is None else f"{account.cost:.4f}"
        row = (account.calls, account.prompt_tokens, account.completion_tokens, *[account.failed] * attempts)
        table.add_row(escape(name), *(f"{value:,}" for value in row), cost)
    out.print(table)


def conversation(trace: Trace, title: str = "", *, full: bool = False) -> None:
    """Print a trace as a readable conversation; long answers of services are cut unless asked for whole."""
    if title:
        out.print(Text(title, style="bold"))
    colours = dict(zip(trace.cast, ("cyan", "green", "magenta", "yellow"), strict=False))
    for event in trace.events:
        notes = event.message.notes
        how = []
        if notes.get("fallback"):
            how.append("template")
        if notes.get("tries", 1) > 1:
            how.append(f"{notes['tries']} tries")
        line = Text(f"{event.sender:>10}  ", style=f"bold {colours.get(event.sender, 'white')}")
        line.append(event.text, style="default")
        for call in event.message.calls:
            given = ", ".join(f"{name}={to_json(value)}" for name, value in call.arguments.items())
            line.append(f"{call.name}({given})", style="italic")
        for result in event.message.results:
            shown = to_json(result.body)
            line.append(f"{result.status} {shown if full else shortened(shown, 160)}", style="dim")
        if how:
            line.append(f"  [{', '.join(how)}]", style="dim")
        out.print(line, soft_wrap=PIPED)
        if "grounded" in notes:
            out.print(Text(f"{'':12}from: {notes['grounded']}", style="dim"), soft_wrap=PIPED)
    out.print(Text(f"{'':12}({trace.end}{': ' + trace.detail if trace.detail else ''})", style="dim"))


def chat(messages: Iterable[ChatMessage], title: str, style: str = "white") -> None:
    """Print a few chat messages in a frame."""
    body = Text("\n").join(Text(f"{m.role}: ", style="bold").append(m.text, style="default") for m in messages)
    out.print(Panel(body, title=title, title_align="left", border_style=style, expand=True))


def table(columns: list[str], rows: Iterable[Iterable[Any]], *, right: Iterable[str] = ()) -> None:
    """Print a plain table."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    wide.print(made)


def paragraphs(text: str) -> None:
    """Print a docstring, its paragraphs wrapped by the width of the terminal and not by that of the source."""
    for paragraph in text.split("\n\n"):
        out.print(" ".join(paragraph.split()), markup=False, highlight=False)
        out.print()


def json(made: Any) -> None:
    """Print plain data, or a dataclass of it, as JSON."""
    sys.stdout.write(to_ordered_json(made, indent=True) + "\n")


def inspection(made: Inspection) -> None:
    """Print what is understood of a document, why, and what is not."""
    _line(f"{made.title} {made.version}".strip(), style="bold")
    _line(f"{made.file}{', corrected by an overlay' if made.corrected else ''}, sha256 {made.sha256[:16]}")
    counts = (f"{len(made.operations)} operations", f"{len(made.aside)} set aside", f"{len(made.resources)} resources")
    _line(", ".join(counts))
    if made.operations:
        _heading("Operations")
        _fields(
            ["operation", "id", "does", "by", "sure", "notes"],
            [
                (
                    f"{one.method} {one.path}",
                    one.id,
                    f"{one.effect} {one.resource}".strip(),
                    " ".join(filter(None, (one.selector, f"page by {one.page}" if one.page else ""))),
                    _sure(one.confidence),
                    "; ".join(one.notes),
                )
                for one in made.operations
            ],
        )
    if made.resources:
        _heading("Resources")
        _fields(
            ["resource", "schema", "id", "links", "label", "unique", "volatile", "operations", "sure"],
            [
                (
                    one.name,
                    one.schema,
                    one.id,
                    ", ".join(
                        [f"{prop} under {name}" for name, prop in one.parents.items()]
                        + [f"{prop} of {name}" for prop, name in one.references.items()]
                    ),
                    *(", ".join(names) for names in (one.label, one.unique, one.volatile)),
                    one.operations,
                    _sure(one.confidence),
                )
                for one in made.resources
            ],
        )
    elif made.operations:
        _line("There are no resources: every operation is stateless.")
    if made.evidence:
        _heading("Evidence")
        _fields(
            ["about", "says", "why", "sure"], [(e.subject, e.says, e.why, _sure(e.confidence)) for e in made.evidence]
        )
    _groups("Set aside", made.aside_by_reason)
    _groups("Warnings of reading", made.warnings_by_kind)
    if made.validation is not None:
        _heading("Validation")
        _validated(made)
    if made.tried:
        _heading("Calls")
        _line(
            f"{made.callable} of {len(made.tried)} operations take a generated example and answer by their schemas"
            + (f"; {left} were not tried" if (left := len(made.operations) - len(made.tried)) else "")
        )


def _validated(made: Inspection) -> None:
    assert made.validation is not None
    lines, complete, seconds = made.validation
    ended = f"in {seconds:.1f} s" if complete else f"until it was stopped after {seconds:.1f} s"
    _line(f"{len(lines) or 'no'} fault{'' if len(lines) == 1 else 's'} by the specification, found {ended}")
    for line in lines[:FIRST_FAULTS]:
        _line(f"  {line}")
    if len(lines) > FIRST_FAULTS:
        _line(f"  and {len(lines) - FIRST_FAULTS} more (--json prints all)")


def _groups(title: str, groups: Iterable[Group]) -> None:
    for number, group in enumerate(groups):
        if not number:
            _heading(title)
        if group.count > len(group.first):
            _line(f"{group.count} like these: {group.why}")
        for line in group.first:
            _line(f"  {line}")


def operation(made: OperationDetail) -> None:
    """Print all that is known of one operation."""
    line = made.line
    _line(f"{line.method} {line.path}  {line.id}", style="bold")
    if made.summary:
        _line(made.summary)
    _line("; ".join([f"{line.effect} {line.resource}".strip(), *line.notes]))
    _line(f"overlay: {to_ordered_json(made.meaning)}")
    if made.evidence:
        _heading("Evidence")
        _fields(
            ["about", "says", "why", "sure"], [(e.subject, e.says, e.why, _sure(e.confidence)) for e in made.evidence]
        )
    if made.arguments:
        _heading("Arguments")
        _fields(
            ["argument", "in", "required", "type", "about"],
            [(a.name, a.where, "yes" if a.required else "", a.kind, a.about) for a in made.arguments],
        )
    _heading("Responses")
    _fields(["status", "body"], [(status, kind or "none") for status, kind in made.responses.items()])
    _heading("Example")
    _line(f"{line.id} {to_ordered_json(made.call, indent=True)}")
    _line(f"{made.status} {to_ordered_json(made.answer, indent=True)}")
    if made.problem:
        _line(made.problem)


def _fields(columns: list[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table, without the columns in which nothing stands; long names are folded where a terminal ends."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    filled = [i for i in range(len(columns)) if any(row[i] for row in cells)]
    made = Table(box=None, pad_edge=False, header_style="bold")
    for i in filled:
        made.add_column(columns[i], overflow="fold")
    for row in cells:
        made.add_row(*(escape(row[i]) for i in filled))
    wide.print(made)


def _heading(title: str) -> None:
    out.print(f"\n[bold]{title}[/bold]")


def _line(text: str, style: str = "default") -> None:
    out.print(Text("\n".join(map(printable, text.split("\n"))), style=style), soft_wrap=True)


def _sure(confidence: float | None) -> str:
    return "said" if confidence is None else f"{confidence:.2f}"


def printable(text: str) -> str:
    """A text from outside without what would steer a terminal."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def report(made: DialogueReport | ElephantReport | ToolReport) -> None:
    """Print a report of any kind."""
    if isinstance(made, ElephantReport):
        elephants(made)
    elif isinstance(made, ToolReport):
        tools(made)
    else:
        dialogues(made)


def tools(made: ToolReport) -> None:
    """Print the verdicts of a tool run."""
    out.print("[bold]Tool dialogues[/bold]: verdicts by kind")
    valid = {kind: f"{r.n}/{made.played[kind]}" if r.n != made.played[kind] else r.n for kind, r in made.kinds.items()}
    rows = [(kind, valid[kind], f"{r.value:.3f}", f"[{r.low:.3f}, {r.high:.3f}]") for kind, r in made.kinds.items()]
    table(["kind", "dialogues", "success", "95 % interval"], rows, right=["dialogues", "success"])
    for kind, errors in made.errors.items():
        _print_counts(f"errors in {kind}", errors)
    _print_counts("by document", made.apis)
    _print_counts("ends", made.ends)
    for side, counts in made.guard.items():
        lines, served = counts["lines"], counts.get("fallback", 0)
        faults = {name: n for name, n in counts.items() if name not in ("lines", "fallback")}
        out.print(f"{side}: {served} of {lines} lines ({served / lines:.0%}) from a template", markup=False)
        _print_counts("  found by the guard", faults)
    _print_counts("drafts rejected", made.rejected)
    _print_counts("dropped", made.drops)


def scored(found: "Scored") -> None:
    """Print the scores of traces."""
    if found.success.n:
        out.print(f"success: {found.success}", markup=False)
        _print_counts("errors", found.errors)
    if found.slots is not None:
        rows = [
            (name, f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}")
            for name, one in (("raw", found.slots.raw), ("normalised", found.slots.normalised))
        ]
        table(["slots", "precision", "recall", "F1"], rows, right=["precision", "recall", "F1"])


def evaluation(made: Evaluation, baseline: Evaluation | None = None) -> None:
    """Print the figures of an evaluation, and how it compares with another."""
    out.print(f"[bold]{escape(made.agent)}[/bold], with the user {escape(made.user)}", style="default")
    kinds = {**made.kinds, "all": (made.success, len(made.trials))}
    rows = [(kind, f"{found.n}/{n}", *_shares(found)) for kind, (found, n) in kinds.items()]
    table(["kind", "valid", "success", "95 % interval"], rows, right=["valid", "success"])
    if made.errors:
        errors = [(name, round(found.value * found.n), *_shares(found)) for name, found in made.errors.items()]
        table(["failed by", "trials", "share", "95 % interval"], errors, right=["trials", "share"])
    passes = ", ".join(f"pass^{k} {value:.3f}" for k, value in made.pass_k.items())
    spare = "" if made.efficiency is None else f"; efficiency {made.efficiency:.2f}"
    out.print(f"{passes}{spare}", markup=False)
    if lost := {name: n for name, n in made.faults.items() if name != "agent"}:
        said = ", ".join(f"{n} by the {name}" for name, n in lost.items())
        out.print(f"not counted: {said}", markup=False)
    if baseline is None:
        out.print(f"smallest difference that these scenarios can show: {made.detectable():.3f}", markup=False)
        return
    pairs = made.against(baseline)
    least = made.detectable((pairs.gained + pairs.lost) / pairs.pairs)
    verdict = "worse by more than chance" if made.is_worse(baseline) else "not worse by more than chance"
    out.print(
        f"against the baseline, over {pairs.pairs} scenarios: {pairs.difference:+.3f}"
        f" ({pairs.gained} newly passed, {pairs.lost} no longer), McNemar p {pairs.p:.3f}: {verdict};"
        f" smallest difference that can be shown: {least:.3f}",
        markup=False,
    )


def _shares(found: Rate) -> tuple[str, str]:
    return f"{found.value:.3f}", f"[{found.low:.3f}, {found.high:.3f}]"


def elephants(made: ElephantReport) -> None:
    """Print the rates of a pink-elephant run."""
    n = made.base.n
    out.print(f"[bold]Pink elephants[/bold]: {n} dialogues about {made.pairs} pairs")
    table(
        ["the last reply names the pink one", "rate", "95 % interval"],
        [
            ("without the rule (base rate)", f"{made.base.value:.3f}", f"[{made.base.low:.3f}, {made.base.high:.3f}]"),
            ("with the rule", f"{made.with_rule.value:.3f}", f"[{made.with_rule.low:.3f}, {made.with_rule.high:.3f}]"),
            ("delta (base - with rule)", f"{made.delta[0]:+.3f}", f"[{made.delta[1]:+.3f}, {made.delta[2]:+.3f}]"),
        ],
        right=["rate"],
    )
    out.print(
        f"intervals: Wilson, at the effective sample size of rows clustered by pair"
        f" ({made.base.effective:.0f} and {made.with_rule.effective:.0f} of {n})",
        style="dim",
        markup=False,
    )
    out.print(
        f"with the rule, {made.redirects.value:.2f} name the grey one; {made.refusals_naming} name the pink one only to"
        " decline",
        markup=False,
    )
    turns = ", ".join(f"reply {turn}: {count}" for turn, count in sorted(made.first_mention.items()))
    out.print(f"first mention without the rule: {turns or 'none'}; never: {made.never}")
    _print_counts("dropped", made.drops)
    _print_counts("pairs by split", made.splits)
    for pair in made.rejected_pairs:
        out.print(f"pair rejected: {pair}", markup=False)


def dialogues(made: DialogueReport) -> None:
    """Print the shape of a dialogue run."""
    out.print(f"[bold]Dialogues[/bold]: {made.dialogues} kept")
    most = max(made.rounds.values(), default=1)
    rows = [(rounds, count, "█" * round(24 * count / most)) for rounds, count in made.rounds.items()]
    table(["rounds", "dialogues", ""], rows, right=["rounds", "dialogues"])
    out.print(f"{len(made.topics)} topics, {made.subtopics} subtopics", markup=False)
    opening, share = made.top_opening
    out.print(f"commonest opening: {opening!r} begins {share:.0%} of the first lines", markup=False)
    share = made.fallbacks / made.lines if made.lines else 0.0
    out.print(f"templates: {made.fallbacks} of {made.lines} lines ({share:.0%})", markup=False)
    _print_counts("dropped", made.drops)


def _print_counts(title: str, counts: Mapping[str, int]) -> None:
    listed = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
    out.print(f"{title}: {listed}", markup=False)
