"""The drawings of a report, from documents alone."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

# Colours that stay apart for most kinds of colour vision (after Wong, 2011, and Okabe and Ito, 2008), then darker shades.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31", "#595959", "#B3C100")
HEIGHT = 430


def number(value: Any) -> float:
    """Read a number as JSON has it: None is NaN, "inf" infinite."""
    return math.nan if value is None else float(value)


def _layout(drawing: Any, x: str, y: str, height: int = HEIGHT, **more: Any) -> Any:
    drawing.update_layout(
        template="simple_white",
        height=height,
        margin={"l": 70, "r": 20, "t": 20, "b": 50},
        font={"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13},
        legend={"itemsizing": "constant"},
        hovermode="closest",
        **more,
    )
    drawing.update_xaxes(title_text=x)
    drawing.update_yaxes(title_text=y)
    return drawing


def colour_of(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each name, the same in every drawing."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def _rgba(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def bands(trials: Sequence[dict[str, Any]], value: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return steps, and lowest, median and highest value over seeds; a seed that has ended keeps its last value."""
    curves = [[(int(point[0]), number(point[value])) for point in trial["curve"]] for trial in trials]
    steps = np.array(sorted({step for curve in curves for step, _ in curve}))
    table = np.full((len(curves), len(steps)), np.nan)
    for row, curve in enumerate(curves):
        at = np.searchsorted(steps, [step for step, _ in curve])
        table[row, at] = [found for _, found in curve]
        for i in range(1, len(steps)):
            if np.isnan(table[row, i]):
                table[row, i] = table[row, i - 1]
    seen = ~np.isnan(table).all(axis=0)  # nobody's loss of a recipe that diverged at once is a number
    steps, table = steps[seen], table[:, seen]
    return steps, np.nanmin(table, axis=0), np.nanmedian(table, axis=0), np.nanmax(table, axis=0)


def curves(
    by_name: dict[str, list[dict[str, Any]]],
    shown: Sequence[str],
    value: int,
    label: str,
    target: float | None,
    log: bool,
) -> Any:
    """Draw one line a contender, the median over seeds, with a band from the lowest to the highest seed."""
    import plotly.graph_objects as go

    drawing, colours = go.Figure(), colour_of(list(by_name))
    for name, trials in by_name.items():
        if not any(trial["curve"] for trial in trials):
            continue
        steps, low, middle, high = bands([trial for trial in trials if trial["curve"]], value)
        visible = True if name in shown else "legendonly"
        common = {"x": steps, "legendgroup": name, "visible": visible}
        edge = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
        drawing.add_scatter(y=high, **common, **edge)
        drawing.add_scatter(y=low, fill="tonexty", fillcolor=_rgba(colours[name], 0.15), **common, **edge)
        line = {"color": colours[name], "width": 2}
        drawing.add_scatter(y=middle, name=name, line=line, mode="lines", **common)
    _layout(drawing, "steps", label)
    if target is not None:
        drawing.add_hline(y=target, line={"dash": "dot", "color": "#5d6b7a"})
        drawing.add_annotation(
            x=1, xref="paper", xanchor="left", y=target, text=f" {target:g}", showarrow=False, font={"color": "#5d6b7a"}
        )
        if 0 < target < 1:  # a share: begin where it gets interesting; a double click shows the whole
            drawing.update_yaxes(range=[max(0.0, target - 5 * (1 - target)), 1.0])
    if log:
        seen = [number(point[value]) for trials in by_name.values() for trial in trials for point in trial["curve"]]
        drawing.update_yaxes(type="log", **ticks(seen))
    return drawing


def intervals(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Any:
    """Draw each contender's time to the target with its interval, fastest on top."""
    import plotly.graph_objects as go

    drawing, colours = go.Figure(), colour_of(names)
    reached = [row for row in rows if math.isfinite(number(row["seconds_to_target"]))]
    for row in reversed(reached):
        middle = number(row["seconds_to_target"])
        low, high = (number(end) for end in row["interval_s"])
        open_end = math.isinf(high)
        high = middle if open_end else high
        drawing.add_scatter(
            x=[middle],
            y=[row["recipe"]],
            mode="markers",
            marker={
                "size": 10,
                "color": colours[row["recipe"]],
                "symbol": "circle" if row["finalist"] else "circle-open",
            },
            error_x={"type": "data", "symmetric": False, "array": [high - middle], "arrayminus": [middle - low]},
            hovertemplate=f"{middle:.3g} s" + (", some seeds missed" if open_end else "") + "<extra>%{y}</extra>",
            showlegend=False,
        )
    _layout(drawing, "seconds to the target", "", height=90 + 32 * max(len(reached), 1))
    drawing.update_xaxes(rangemode="tozero")
    drawing.update_yaxes(type="category")
    return drawing


def searches(by_name: dict[str, list[dict[str, Any]]], spaces: Container[str] = ()) -> Any:
    """Draw steps to the target against learning rate, for every contender that was tuned; a space's recipes without lines.

    A filled mark reached the target; an open triangle was stopped there without having reached it.
    """
    import plotly.graph_objects as go

    drawing, colours = go.Figure(), colour_of(list(by_name))
    for name, trials in by_name.items():
        longest = {
            (trial["trial"]["recipe"], trial["trial"]["seed"]): trial for trial in trials
        }  # one that was paused comes again
        ordered = sorted(longest.values(), key=lambda trial: trial["trial"]["lr"])
        if not ordered:
            continue
        hit = [trial["reached_at"] is not None for trial in ordered]
        drawing.add_scatter(
            x=[trial["trial"]["lr"] for trial in ordered],
            y=[trial["reached_at"] or trial["steps"] for trial in ordered],
            name=name,
            mode="markers" if name in spaces else "lines+markers",
            line={"color": colours[name], "width": 1},
            marker={"color": colours[name], "symbol": ["circle" if yes else "triangle-up-open" for yes in hit], "size": 9},
        )
    _layout(drawing, "learning rate", "steps to the target")
    drawn = [trial for trials in by_name.values() for trial in trials]
    drawing.update_xaxes(type="log", exponentformat="power", dtick=1)
    drawing.update_yaxes(type="log", **ticks([float(trial["reached_at"] or trial["steps"]) for trial in drawn]))
    return drawing


def ticks(values: Sequence[float]) -> dict[str, Any]:
    """Return the ticks of a logarithmic axis over these values, at 1, 2 and 5 times powers of ten, written out.

    >>> ticks([30.0, 400.0])["tickvals"]
    [20.0, 50.0, 100.0, 200.0, 500.0]
    """
    known = [value for value in values if math.isfinite(value) and value > 0]
    if not known:
        return {}
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    marks = [k * 10.0**e for e in range(low, high + 1) for k in steps]
    shown = [mark for mark in marks if min(known) / 2 < mark < max(known) * 2]
    return {"tickvals": shown, "ticktext": [f"{mark:g}" for mark in shown]}


def stages(seconds: dict[str, float]) -> Any:
    """Draw where the time went, one bar a stage."""
    import plotly.graph_objects as go

    names, values = list(seconds), [number(value) for value in seconds.values()]
    bar = go.Bar(
        x=values[::-1],
        y=names[::-1],
        orientation="h",
        marker={"color": "#56B4E9"},
        text=[f"{v:.2f} s" for v in values[::-1]],
    )
    drawing = go.Figure(bar)
    drawing.update_traces(textposition="outside", cliponaxis=False)
    _layout(drawing, "seconds", "", height=90 + 30 * len(names))
    drawing.update_xaxes(range=[0, max([*values, 1e-9]) * 1.15])
    return drawing


def confusion(table: Sequence[Sequence[int]], classes: Sequence[Any]) -> Any:
    """Draw the confusion matrix: true classes down, predicted classes across, shaded by share of the true class."""
    import plotly.graph_objects as go

    counts = np.asarray(table, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [str(name) for name in classes]
    text = [[str(int(n)) for n in line] for line in counts] if len(names) <= 25 else None
    heat = go.Heatmap(
        z=shares, x=names, y=names, text=text, texttemplate="%{text}" if text else None, colorscale="Blues", zmin=0, zmax=1,
        showscale=False, hovertemplate="true %{y}, predicted %{x}: %{z:.1%}<extra></extra>", xgap=1, ygap=1,
    )  # fmt: skip
    drawing = go.Figure(heat)
    side = min(760, 200 + 36 * len(names))
    _layout(drawing, "predicted", "true", height=side, width=side + 60)
    drawing.update_xaxes(type="category", side="bottom")
    drawing.update_yaxes(type="category", autorange="reversed")
    return drawing


def learning(curve: Sequence[dict[str, Any]], metric: str) -> Any:
    """Draw training loss, validation loss and one metric of a run."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    drawing = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    steps = [point["step"] for point in curve]
    lines: tuple[tuple[str, str, str, int], ...] = (
        ("train_loss", "training loss", COLOURS[0], 1),
        ("loss", "validation loss", COLOURS[1], 1),
        (metric, f"validation {metric}", COLOURS[2], 2),
    )
    for key, name, colour, column in lines:
        values = [number(point.get(key)) for point in curve]
        if not all(math.isnan(value) for value in values):
            line = go.Scatter(x=steps, y=values, name=name, mode="lines+markers", line={"color": colour})
            drawing.add_trace(line, row=1, col=column)
    _layout(drawing, "steps", "", height=340)
    drawing.update_yaxes(title_text="loss", row=1, col=1)
    drawing.update_yaxes(title_text=metric, row=1, col=2)
    return drawing
