"""The frame of a report: one HTML page that opens offline, with everything it needs inside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

STYLE = """
:root { --ink: #1d2733; --quiet: #5d6b7a; --line: #dfe5ea; --paper: #ffffff; --shade: #f5f7f9;
  --good: #1a7f37; --bad: #b42318; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 44px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); }
p { margin: 6px 0; max-width: 76ch; }
.quiet { color: var(--quiet); }
.facts { display: flex; flex-wrap: wrap; gap: 12px 40px; margin: 20px 0 4px; }
.facts div { min-width: 110px; }
.facts b { display: block; font-size: 22px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.facts span { color: var(--quiet); font-size: 14px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums; font-size: 15px; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid var(--line); padding: 6px 18px 6px 0; white-space: nowrap; }
td { border-bottom: 1px solid var(--line); padding: 6px 18px 6px 0; vertical-align: top; }
td.number, th.number { text-align: right; }
tr.dim td { color: var(--quiet); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); }
pre { background: var(--shade); border: 1px solid var(--line); border-radius: 6px; padding: 12px 14px; overflow-x: auto;
  font: 14px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; margin: 8px 0; white-space: pre-wrap; }
figure { margin: 14px 0 0; }
figcaption { color: var(--quiet); font-size: 14px; max-width: 90ch; }
"""


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int] = (), dim: Sequence[int] = ()) -> str:
    """Return an HTML table; every cell is escaped. `numbers` are right-aligned columns, `dim` rows shown quietly."""

    def cell(tag: str, column: int, value: Any) -> str:
        kind = ' class="number"' if column in numbers else ""
        return f"<{tag}{kind}>{value.html if isinstance(value, Raw) else escape(str(value))}</{tag}>"

    header = "".join(cell("th", i, name) for i, name in enumerate(head))
    body = "".join(
        f"<tr{' class=dim' if at in dim else ''}>" + "".join(cell("td", i, value) for i, value in enumerate(row)) + "</tr>"
        for at, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>'


class Raw:
    """A piece of HTML made here, to be put into a table as it is."""

    def __init__(self, html: str) -> None:
        self.html = html


def coloured(text: str, kind: str) -> Raw:
    """Return text in the colour of a meaning: good, bad, or quiet."""
    return Raw(f'<span class="{kind}">{escape(text)}</span>')


def facts(items: Sequence[tuple[str, str]]) -> str:
    """Return a row of large figures, each with what it is."""
    return (
        '<div class="facts">' + "".join(f"<div><b>{escape(v)}</b><span>{escape(k)}</span></div>" for v, k in items) + "</div>"
    )


def section(title: str, *content: str) -> str:
    """Return a section, or nothing when it would be empty."""
    inside = "\n".join(piece for piece in content if piece)
    return f"<h2>{escape(title)}</h2>\n{inside}" if inside else ""


def paragraph(text: str, quiet: bool = False) -> str:
    return f"<p{' class=quiet' if quiet else ''}>{escape(text)}</p>"


def code(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def figure(drawing: Any, caption: str, name: str) -> str:
    """Return a Plotly figure with its caption."""
    inside = drawing.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config={"displayModeBar": False, "responsive": True}
    )
    return f"<figure>{inside}<figcaption>{escape(caption)}</figcaption></figure>"


def page(title: str, subtitle: str, *sections: str) -> str:
    """Return the whole page, Plotly's script included."""
    from plotly.offline import get_plotlyjs

    body = "\n".join(part for part in sections if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n<script>{get_plotlyjs()}</script>\n</head>\n"
        f'<body>\n<main>\n<h1>{escape(title)}</h1>\n<p class="quiet">{escape(subtitle)}</p>\n{body}\n</main>\n'
        "</body>\n</html>\n"
    )
