"""The table of preferences as Markdown, CSV and HTML. Whatever comes from files is escaped."""

from __future__ import annotations

import csv
import io
import math

import jinja2

from bench4d.stats import Interval
from bench4d.table_formats import csv_cell, exact, md_cell

from .preferences import Preference, Preferences

COUNTS = ("n", "participants", "objects")
HEAD = ("a", "b", "a preferred", "95 %", "ties", *COUNTS, "p (Holm)", "verdict")
CSV_HEAD = (
    "question",
    "method_a",
    "method_b",
    "share",
    "low",
    "high",
    "interval",
    "ties",
    *COUNTS,
    "p_holm",
    "verdict",
)

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Preferences, study {{ p.study }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8886; }
th:first-child, td:first-child, .pairs :is(th, td):nth-child(2), .pairs :is(th, td):last-child { text-align: left; }
small { display: block; opacity: .8; } footer { margin-top: 1.5rem; font-size: .9rem; } .warning { font-weight: 700; }
</style></head><body>
<h1>Preferences, study {{ p.study }}</h1>
<h2>Overall: share of comparisons won against a rival</h2>
<div class="wide"><table>
<thead><tr><th>method</th>{% for title in p.questions.values() %}<th>{{ title }}</th>{% endfor %}
<th>n</th></tr></thead><tbody>
{% for method, cells in overall %}<tr><td>{{ method }}</td>{% for share, interval, _ in cells %}
<td>{{ share }}<small>{{ interval }}</small></td>{% endfor %}<td>{{ cells[0][2] }}</td></tr>
{% endfor %}</tbody></table></div>
{% for title, rows in pairs %}<h2>{{ title }}, pair by pair</h2>
<div class="wide"><table class="pairs">
<thead><tr>{% for name in head %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for text in row %}<td>{{ text }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}
<footer>{% for line in p.notes %}<p{% if line.startswith("WARNING") %} class="warning"{% endif %}>{{ line }}</p>
{% endfor %}</footer></body></html>
"""


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def interval_of(share: Interval) -> str:
    return "" if math.isnan(share.low) else f"[{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _pair_row(one: Preference) -> tuple[str, ...]:
    p = "" if math.isnan(one.p_holm) else f"{one.p_holm:.3g}"
    numbers = (percent(one.share.mean), interval_of(one.share), percent(one.ties))
    counts = map(str, (one.share.count, one.participants, one.objects))
    verdict = one.verdict.replace("a preferred", f"{one.a} preferred").replace("b preferred", f"{one.b} preferred")
    return (one.a, one.b, *numbers, *counts, p, verdict)


def _overall_cells(preferences: Preferences) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """Method -> for each question its share, interval and number of comparisons."""
    return [
        (m, [(percent(o.share.mean), interval_of(o.share), o.share.count) for o in preferences.overall if o.a == m])
        for m in preferences.methods
    ]


def _pairs_by_question(preferences: Preferences) -> list[tuple[str, list[tuple[str, ...]]]]:
    return [
        (title, [_pair_row(pair) for pair in preferences.pairs if pair.question == question])
        for question, title in preferences.questions.items()
    ]


def to_html(preferences: Preferences) -> str:
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(PAGE)
    cells, pairs = _overall_cells(preferences), _pairs_by_question(preferences)
    return page.render(p=preferences, overall=cells, pairs=pairs, head=HEAD) + "\n"


def to_markdown(preferences: Preferences) -> str:
    lines = [
        f"## Preferences, study {preferences.study}",
        "",
        "**Overall: share of comparisons won against a rival**",
        "",
    ]
    lines += ["| " + " | ".join(["method", *map(md_cell, preferences.questions.values()), "n"]) + " |"]
    lines += ["|---|" + "---:|" * (len(preferences.questions) + 1)]
    for method, cells in _overall_cells(preferences):
        texts = [md_cell(f"{share} {interval}".strip()) for share, interval, _ in cells]
        lines.append("| " + " | ".join([md_cell(method), *texts, str(cells[0][2])]) + " |")
    for title, rows in _pairs_by_question(preferences):
        lines += ["", f"**{md_cell(title)}, pair by pair**", "", "| " + " | ".join(HEAD) + " |"]
        lines += ["|---|---|" + "---:|" * 7 + "---|"]
        lines += ["| " + " | ".join(map(md_cell, row)) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {md_cell(note)}" for note in preferences.notes), ""])


def to_csv(preferences: Preferences) -> str:
    """One line a question and pair; an empty method_b is all rivals together."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*CSV_HEAD, "verdict"])
    for one in (*preferences.overall, *preferences.pairs):
        share = [exact(v) for v in (one.share.mean, one.share.low, one.share.high)]
        counts = (one.share.count, one.participants, one.objects)
        kind = "wilson" if one.b else "bootstrap"
        tail = (exact(one.p_holm), one.verdict)
        writer.writerow([one.question, csv_cell(one.a), csv_cell(one.b), *share, kind, exact(one.ties), *counts, *tail])
    return out.getvalue()


FORMATS = {"md": to_markdown, "csv": to_csv, "html": to_html}
