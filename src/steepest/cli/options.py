"""The options that several verbs share, each spelled out once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError, unknown
from ..sources import BUILTINS, check_source

TaskName = Annotated[
    str,
    typer.Argument(metavar="TASK", help=f"{', '.join(BUILTINS)}; a csv, parquet, npz or idx file; or file.py:function."),
]
Label = Annotated[str | None, typer.Option(help="Column to predict: name or position (-1: last).")]
Header = Annotated[bool | None, typer.Option("--header/--no-header", help="Whether line 1 names the columns.")]
TestFile = Annotated[str | None, typer.Option("--test", help="A file that becomes the test part.")]
Missing = Annotated[
    list[str] | None,
    typer.Option(help="Another mark of a missing cell: MARK, or COLUMN=MARK for one column."),
]
Categorical = Annotated[list[str] | None, typer.Option(help="A column of categories, though numbers.")]
Drop = Annotated[list[str] | None, typer.Option(help="A column to leave out.")]
OnBadRow = Annotated[str, typer.Option(help="At a row that cannot be right: stop or skip.")]
Kind = Annotated[str | None, typer.Option(help="classification or regression, if not as guessed.")]
Reached = Annotated[str | None, typer.Option(help='The target, such as "accuracy>=0.97".')]
Model = Annotated[str | None, typer.Option(help='The network, such as "mlp((64, 64))".')]
Batch = Annotated[str | None, typer.Option(help="Rows a step, or full.")]
Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]
Home = Annotated[Path | None, typer.Option(help="Folder of the records [./.steepest].")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


@dataclass(frozen=True)
class Source:
    """What to learn, as the command line said it; checked without importing anything heavy."""

    task: str
    label: str | None = None
    header: bool | None = None
    test: str | None = None
    missing: list[str] | None = None
    categorical: list[str] | None = None
    drop: list[str] | None = None
    on_bad_row: str = "stop"
    kind: str | None = None
    reach: str | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        check_source(self.task)
        if self.test is not None:
            check_source(self.test)
        for name, value, known in (
            ("--on-bad-row", self.on_bad_row, ("stop", "skip")),
            ("--kind", self.kind, ("classification", "regression", None)),
        ):
            if value not in known:
                raise unknown(name, value, [str(item) for item in known if item])
        if self.reach is not None:
            from ..reach import Reach

            Reach.parse(self.reach)

    def make(self) -> Any:
        """Return the Task."""
        from ..recipes import read
        from ..tasks import task

        return task(
            self.task,
            label=self.label,
            reach=self.reach,
            model=None if self.model is None else _model(read(self.model)),
            **self._options(),
        )

    def _options(self) -> dict[str, Any]:
        """Return what was said about the table; a built-in set or a task of the user's own takes none of it."""
        from ..data.cleaning import MISSING_MARKS

        everywhere = [mark for mark in self.missing or () if "=" not in mark]
        by_column: dict[str, list[str]] = {}
        for mark in self.missing or ():
            if "=" in mark:
                column, _, value = mark.partition("=")
                by_column.setdefault(column, []).append(value)
        options = {
            "header": self.header,
            "test": self.test,
            "missing": (*MISSING_MARKS, *everywhere) if everywhere else None,
            "missing_in": by_column or None,
            "categorical": self.categorical or None,
            "drop": self.drop or None,
            "on_bad_row": None if self.on_bad_row == "stop" else self.on_bad_row,
            "kind": self.kind,
        }
        given = {name: value for name, value in options.items() if value is not None}
        if given and (self.task in BUILTINS or ".py:" in self.task):
            names = ", ".join(f"--{name.replace('_in', '').replace('_', '-')}" for name in given)
            raise InputError(f"{names}: only for tables in files; {self.task} is already complete")
        return given


def _model(value: Any) -> Any:
    from ..models import ModelSpec

    if not isinstance(value, ModelSpec):
        raise InputError(f"--model takes a network such as 'mlp((64, 64))' (got {value!r})")
    return value


def batch_size(text: str | None) -> int | str | None:
    """Return the batch that --batch means, or raise."""
    if text is None or text == "full":
        return text
    try:
        number = int(text)
    except ValueError:
        raise InputError(f"--batch must be a whole number >= 1, or full (got {text!r})") from None
    if number < 1:
        raise InputError(f"--batch must be >= 1 (got {number})")
    return number


def at_least(name: str, value: float | None, low: float) -> None:
    """Raise unless an option is absent or at least `low`."""
    if value is not None and not low <= value < float("inf"):
        raise InputError(f"{name} must be >= {low:g} (got {value:g})")


def above_zero(name: str, value: float | None) -> None:
    """Raise unless an option is absent or above zero."""
    if value is not None and not 0 < value < float("inf"):
        raise InputError(f"{name} must be > 0 (got {value:g})")
