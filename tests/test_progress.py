"""Progress: a bar where somebody watches, lines in a log, nothing where nobody asked."""

from __future__ import annotations

import io
import sys

import pytest

from steepest import progress
from steepest.progress import Progress, way_to_show
from steepest.racing.contenders import Contender
from steepest.racing.plan import FINALS, SCREENING, SEARCH, Plan
from steepest.racing.trials import Outcome
from steepest.racing.view import View
from steepest.recipes import Recipe
from steepest.rules import sgd


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("show", "lines", "terminal", "notebook", "expected"),
    [
        (None, False, True, False, "bar"),
        (None, False, False, False, "nothing"),
        (None, True, False, False, "lines"),
        (True, False, False, False, "lines"),
        (False, True, True, False, "nothing"),
        (None, False, False, True, "lines"),
    ],
)
def test_where_what_is_shown(
    show: bool | None, lines: bool, terminal: bool, notebook: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    monkeypatch.setattr(progress, "in_notebook", lambda: notebook)
    assert way_to_show(show, lines) == expected


def test_a_log_gets_lines_with_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with Progress(4, "fit digits", True) as bar:
        bar.update(1)
        bar.update(2, "loss 0.3")
    err = capsys.readouterr().err
    assert "fit digits  1/4" in err
    assert "2/4  loss 0.3  about" in err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(4, "fit digits") as bar:
        bar.update(2, "loss 0.3")
        bar.update(4)
    assert "fit digits" in terminal.getvalue()


def test_the_live_table_of_a_race(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    names = ("momentum", "adam")
    contenders = tuple(Contender(name, (Recipe(sgd(0.1)), Recipe(sgd(0.2)))) for name in names)
    plan = Plan(contenders, "momentum", "accuracy >= 0.9", 100, 5, seeds=2)
    with View(plan, "digits   reach accuracy >= 0.9") as view:
        view.stage(SEARCH)
        for stage in (SEARCH, SCREENING, FINALS):
            for name in names:
                for i in range(2):
                    reached = None if (name, stage) == ("adam", SEARCH) else 40 + i
                    view.see(Outcome(plan.trial(stage, name, i, i), reached, 100, 1.0, 1.0, 0.9))
        table = view.table()
    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table)
    text = console.export_text()
    assert "2/2" in text
    assert "trial 12 of about" in text
