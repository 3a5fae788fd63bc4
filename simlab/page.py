"""An evaluation as one page: charts in SVG and the failures in words. Nothing is fetched, and no script runs."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice
from math import isnan

from simlab.evaluation import Evaluation, Trial
from simlab.quality.rates import Rate

WIDTH, ROW, LABEL, RIGHT = 720, 28, 170, 150  # pixels of a chart, of its rows, left and right of the bars
MOST_FAILURES = 100
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --dim: #667085; --bar: #3b7ddd; --bad: #d2553f; --line: #d8dde6;
  --back: #ffffff; --soft: #f4f6f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --dim: #98a2b3; --line: #364152; --back: #131820;
  --soft: #1c2330; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; }
.dim, svg .dim { color: var(--dim); fill: var(--dim); } svg { max-width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.2rem 0; }
.figures div { background: var(--soft); border-radius: 8px; padding: .6rem 1rem; }
.figures b { display: block; font-size: 1.4rem; }
pre { background: var(--soft); border-radius: 8px; padding: .8rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: 13px; }
"""


def page_of(made: Evaluation, failures: Iterable[tuple[Trial, str]], baseline: Evaluation | None = None) -> str:
    """The page; of many failures the first hundred."""
    told, failed = [text for _, text in islice(failures, MOST_FAILURES)], sum(t.success is False for t in made.trials)
    parts = [
        f"<h1>{escape(made.agent)}</h1>",
        f"<p class=dim>{len(made.trials)} trials of {len(made.by_scenario)} scenarios, the user {escape(made.user)}.",
        f" {len(made.valid)} of them say something about the agent.</p>",
        _figures(made, baseline),
        "<h2>Success by kind</h2>",
        _bars([(kind, found, f"{found.n} of {n}") for kind, (found, n) in made.kinds.items()], "bar"),
    ]
    if made.errors:
        rows = [(name, found, f"{round(found.value * found.n)} of {found.n}") for name, found in made.errors.items()]
        parts += ["<h2>Failures by type of error</h2>", _bars(rows, "bad")]
    if len(made.pass_k) > 1:
        parts += ["<h2>pass^k: all of k trials pass</h2>", _steps(list(made.pass_k.items()))]
    if told:
        parts.append(f"<h2>{failed} failed trials</h2>")
        parts += [f"<pre>{escape(text)}</pre>" for text in told]
        if failed > len(told):
            parts.append(f"<p class=dim>and {failed - len(told)} more, in the run file</p>")
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(made.agent)}: evaluation</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _figures(made: Evaluation, baseline: Evaluation | None) -> str:
    whole = made.success
    figures = [
        (f"{whole.value:.1%}", f"success, 95 % interval {whole.low:.1%} to {whole.high:.1%}"),
        ("-" if made.efficiency is None else f"{made.efficiency:.2f}", "calls needed per call made, where it passed"),
        (f"{made.detectable():.1%}", "smallest difference that these scenarios can show"),
    ]
    figures += [(str(n), f"failed by the {name}") for name, n in sorted(made.faults.items()) if name != "agent"]
    if baseline is not None:
        pairs = made.against(baseline)
        figures.append(
            (f"{pairs.difference:+.1%}", f"against the baseline, over {pairs.pairs} scenarios, p {pairs.p:.3f}")
        )
    cells = "".join(
        f"<div><b>{escape(value)}</b><span class=dim>{escape(what)}</span></div>" for value, what in figures
    )
    return f'<div class="figures">{cells}</div>'


def _bars(rows: Sequence[tuple[str, Rate, str]], colour: str) -> str:
    """Horizontal bars from 0 to 1, each with its interval."""
    height, span = ROW * len(rows) + 24, WIDTH - LABEL - RIGHT
    drawn = []
    for tenth in range(0, 11, 5):
        x = LABEL + span * tenth / 10
        drawn.append(f'<line x1="{x:g}" y1="0" x2="{x:g}" y2="{height - 20}" stroke="var(--line)"/>')
        drawn.append(f'<text class="dim" x="{x:g}" y="{height - 4}" text-anchor="middle">{tenth * 10} %</text>')
    for i, (name, found, count) in enumerate(rows):
        y, end = ROW * i, LABEL + span * found.value
        low, high = LABEL + span * found.low, LABEL + span * found.high
        drawn += [
            f'<text x="{LABEL - 10}" y="{y + 18}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y + 5}" width="{end - LABEL:.1f}" height="16" rx="2" fill="var(--{colour})"/>',
            f'<path d="M{low:.1f} {y + 13}H{high:.1f}M{low:.1f} {y + 9}v8M{high:.1f} {y + 9}v8" stroke="var(--ink)"'
            ' fill="none"/>',
            f'<text x="{WIDTH - RIGHT + 12}" y="{y + 18}">{found.value:.1%}'
            f' <tspan class="dim">({escape(count)})</tspan></text>',
        ]
    return _svg(height, drawn)


def _steps(points: Sequence[tuple[int, float]]) -> str:
    """A line over k from 0 to 1."""
    known = [(k, value) for k, value in points if not isnan(value)]
    height, span = 180, WIDTH - LABEL - RIGHT
    most = max(k for k, _ in points)
    places = [(LABEL + span * (k - 1) / (most - 1), 12 + 140 * (1 - value), k, value) for k, value in known]
    drawn = [
        f'<line x1="{LABEL}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="var(--line)"/>'
        f'<text class="dim" x="{LABEL - 24}" y="{y + 4}" text-anchor="end">{label}</text>'
        for y, label in ((12, "100 %"), (82, "50 %"), (152, "0 %"))
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
    drawn.append(f'<polyline points="{line}" fill="none" stroke="var(--bar)" stroke-width="2"/>')
    for x, y, k, value in places:
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--bar)"/>')
        drawn.append(f'<text x="{x:.1f}" y="{y + (20 if y < 60 else -10):.1f}" text-anchor="middle">{value:.1%}</text>')
        drawn.append(f'<text class="dim" x="{x:.1f}" y="174" text-anchor="middle">k = {k}</text>')
    return _svg(height, drawn)


def _svg(height: int, drawn: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">{"".join(drawn)}</svg>'
