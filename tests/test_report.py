"""Reports: one page each, that opens offline, shows what it promises, and trusts nothing it prints."""

from __future__ import annotations

import json
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import steepest
from steepest.records import Invocation

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Balanced(HTMLParser):
    """Checks that tags close in order, and collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] not in ("script", "style"):
            self.text.append(data)


def read(path: Path) -> tuple[Balanced, str]:
    html = path.read_text(encoding="utf-8")
    page = Balanced()
    page.feed(html)
    assert page.stack == []
    return page, html


@pytest.fixture(scope="module")
def race_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("race")
    race = steepest.race(
        "iris", ["adam", "sgd(0.1)"], seeds=2, epochs=15, processes=1, home=folder, invocation=Invocation("steepest race iris")
    )
    run = steepest.fit("iris", race.best, home=folder)
    race.keep_winner(run)
    steepest.report(race, run, home=folder)
    return folder


def test_a_race_page_opens_offline_and_shows_everything(race_page: Path) -> None:
    (path,) = (race_page / "reports").glob("*.html")
    page, html = read(path)
    assert page.fetched == []
    assert "Plotly.newPlot" in html
    text = " ".join(page.text)
    for piece in ("Leaderboard", "Time to the target", "Curves", "Search", "Confusion", "Where the time went", "Cleaning"):
        assert piece in text
    for piece in ("race iris", "momentum", "adam", "torch", "certificate", "validation accuracy"):
        assert piece in html
    assert html.count("<figure>") == 7


def test_a_page_made_from_the_record_equals_the_one_made_at_once(race_page: Path) -> None:
    (path,) = (race_page / "reports").glob("*.html")
    again = steepest.report(path.stem, home=race_page, out=race_page / "again.html")
    when = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
    assert when.sub("", again.read_text()) == when.sub("", path.read_text())


def test_a_run_page_of_a_regression_has_no_confusion(tmp_path: Path) -> None:
    run = steepest.fit("diabetes", record=False)
    page, _ = read(steepest.report(run, out=tmp_path / "run.html"))
    text = " ".join(page.text)
    assert "rmse" in text
    assert "mlp(hidden=(128, 128), dropout=0.4): 18,049 parameters, 36 kFLOP a row" in text
    assert "Confusion" not in text


def test_a_page_counts_in_the_words_of_its_data_and_says_when_the_run_began(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("the cat sat on the mat.\n" * 60)
    task = steepest.task(tmp_path / "story.txt", context=16, model=steepest.lstm(4))
    run = steepest.fit(task, steepest.Recipe(steepest.adamw(0.01), epochs=1), home=tmp_path)
    held = run.facts["measured_on"]
    assert (held["unit"], held["rows"]) == ("characters", 16 * task.data.size("test"))
    measured = steepest.evaluate(run)
    assert (measured.unit, measured.rows) == (held["unit"], held["rows"])
    page, _ = read(steepest.report(run, home=tmp_path))
    text = " ".join(page.text)
    assert f"{held['rows']} characters of the test part" in text
    assert "story: 1,440 characters, 12 different, in" in text
    assert "rows" not in text.split("Where the time went")[1].split("Cleaning")[0]
    began = json.loads((tmp_path / "runs" / str(run.id) / "record.jsonl").read_text().splitlines()[0])["at"]
    assert f"run {run.id}, begun {datetime.fromtimestamp(began):%Y-%m-%d %H:%M}, by steepest" in text


def test_names_from_the_data_cannot_run_scripts(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    frame = pl.DataFrame({evil: np.arange(80) % 7, "x": np.arange(80) % 5, "label": [evil, "b</script>"] * 40})
    run = steepest.fit(steepest.task(frame, label="label", name=f"<b>{evil}"), record=False)
    _, html = read(steepest.report(run, out=tmp_path / "evil.html"))
    assert "<script>alert" not in html
    assert "<b><script" not in html


def test_an_unfinished_race_has_no_report(tmp_path: Path) -> None:
    from steepest.records import create

    record = create("race", tmp_path)
    record.append("start", task="iris")
    with pytest.raises(steepest.InputError, match="was not finished"):
        steepest.report(record.id, home=tmp_path)
    assert not (tmp_path / "reports").exists()
