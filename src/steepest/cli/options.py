"""The options that several verbs share, each spelled out once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ..errors import InputError, unknown
from ..sources import BUILTINS, DOWNLOADS, check_source

Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]
Batch = Annotated[str | None, typer.Option(help="Rows a step, or full.")]
Home = Annotated[Path | None, typer.Option(help="Folder of the records [./.steepest].")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]

_NAMES = ", ".join((*BUILTINS, *DOWNLOADS))
_OWN = "or file.py:function, which returns a Task"
_HEADER = typer.Option("--header/--no-header", help="Whether line 1 names the columns.")
_MISSING = typer.Option(help="Another mark of a missing cell: MARK, or COLUMN=MARK for one column.")


@dataclass(frozen=True)
class Source:
    """What to learn, as the command line said it; checked without importing anything heavy."""

    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help=f"{_NAMES}; a csv, tsv (also .gz), parquet, npz, idx or text file, a folder; {_OWN}."
        ),
    ]
    label: Annotated[str | None, typer.Option(help="Column to predict: name or position (-1: last).")] = None
    reach: Annotated[str | None, typer.Option(help='The target, such as "accuracy>=0.97".')] = None
    test: Annotated[str | None, typer.Option(help="A file that becomes the test part.")] = None
    header: Annotated[bool | None, _HEADER] = None
    missing: Annotated[list[str] | None, _MISSING] = None
    categorical: Annotated[list[str] | None, typer.Option(help="A column of categories, though numbers.")] = None
    drop: Annotated[list[str] | None, typer.Option(help="A column to leave out.")] = None
    on_bad_row: Annotated[str, typer.Option(help="At a row that cannot be right: stop or skip.")] = "stop"
    kind: Annotated[str | None, typer.Option(help="classification, regression, transcription [as guessed].")] = None
    horizon: Annotated[int | None, typer.Option(help="Of a series: steps ahead to forecast.")] = None
    window: Annotated[int | None, typer.Option(help="Of a series: steps seen [4 times the horizon].")] = None
    time: Annotated[str | None, typer.Option(help="Column that holds the time.")] = None
    group: Annotated[str | None, typer.Option(help="Column whose rows of one value stay in one part.")] = None
    feature: Annotated[list[str] | None, typer.Option(help="Of a series: a column that is seen [all].")] = None
    tokens: Annotated[str | None, typer.Option(help="Of texts: words or bpe.")] = None
    context: Annotated[int | None, typer.Option(help="Of a plain text: characters read at once.")] = None
    size: Annotated[str | None, typer.Option(help="Of images in files: height x width to resize to, such as 32x32.")] = None
    test_where: Annotated[str | None, typer.Option(help="Rows of the test part, such as 'year>=2020'.")] = None
    parts: Annotated[str | None, typer.Option(help="Shares of train, validation, test, certificate.")] = None
    model: Annotated[str | None, typer.Option(help='The network, such as "mlp((64, 64))".')] = None
    objective: Annotated[str | None, typer.Option(help='What is made small, such as "huber()" [as suits the label].')] = None
    metrics: Annotated[str | None, typer.Option(help='What is measured, such as "accuracy,f1" [all that suit].')] = None

    def __post_init__(self) -> None:
        check_source(self.task)
        if self.test is not None:
            check_source(self.test)
        for name, value, known in (
            ("--on-bad-row", self.on_bad_row, ("stop", "skip")),
            ("--kind", self.kind, ("classification", "regression", "transcription", None)),
        ):
            if value not in known:
                raise unknown(name, value, [str(item) for item in known if item])
        if self.reach is not None:
            from ..reach import Reach

            Reach.parse(self.reach)
        from ..models import as_model
        from ..objectives import as_objective

        as_model(self.model)
        as_objective(self.objective)
        _metrics(self.metrics)

    def make(self) -> Any:
        """Return the Task."""
        from ..tasks import task

        return task(
            self.task,
            label=self.label,
            reach=self.reach,
            model=self.model,
            objective=self.objective,
            metrics=_metrics(self.metrics),
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
            "horizon": self.horizon,
            "window": self.window,
            "time": self.time,
            "group": self.group,
            "features": tuple(self.feature) if self.feature else None,
            "tokens": self.tokens,
            "context": self.context,
            "size": None if self.size is None else _size(self.size),
            "test_where": self.test_where,
            "parts": None if self.parts is None else _shares(self.parts),
        }
        given = {name: value for name, value in options.items() if value is not None}
        if set(given) - {"parts"} and (self.task in BUILTINS or ".py:" in self.task):
            names = ", ".join(f"--{name.replace('_in', '').replace('_', '-')}" for name in given)
            raise InputError(f"{names}: only for tables in files; {self.task} is already complete")
        return given


def takes_source(verb: Callable[..., int], resumes: bool = False) -> Callable[..., int]:
    """Give a verb the options that say what to learn; it receives them as its first argument, one checked `Source`."""
    shared = {field.name: field for field in fields(Source)}
    hints = get_type_hints(Source, include_extras=True) | get_type_hints(verb, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    first = [
        inspect.Parameter(name, keyword, default=inspect.Parameter.empty if field.default is MISSING else field.default)
        for name, field in shared.items()
    ]
    own = [parameter.replace(kind=keyword) for parameter in list(inspect.signature(verb).parameters.values())[1:]]
    if resumes:
        first[0] = first[0].replace(default=None)
        hints["task"] = Annotated[str | None, hints["task"].__metadata__[0]]

    @functools.wraps(verb)
    def command(**given: Any) -> int:
        said = {name: given.pop(name) for name in shared}
        if said["task"] is not None:
            return verb(Source(**said), **given)
        if given.get("resume") is None:
            raise InputError("Missing argument 'TASK' (see steepest fit --help)")
        if also := [name for name, field in shared.items() if said[name] not in (None, field.default)]:
            raise InputError(f"--resume goes on as the run began; leave out --{also[0].replace('_', '-')}")
        return verb(None, **given)

    parameters = [parameter.replace(annotation=hints[parameter.name]) for parameter in (*first, *own)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _size(text: str) -> tuple[int, ...]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise InputError(f"--size takes height x width in pixels such as 32x32 (got {text!r})")
    return int(sides[0]), int(sides[-1])


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in text.split(","))
    except ValueError:
        raise InputError(f"--parts takes four shares such as 0.6,0.15,0.15,0.1 (got {text!r})") from None


def _metrics(text: str | None) -> tuple[str, ...] | None:
    """Return the names of the metrics that --metrics lists."""
    if text is None:
        return None
    from ..reach import metric

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise InputError(f"--metrics takes names such as accuracy,f1 (got {text!r})")
    return tuple(metric(name).name for name in names)


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


def whole_where_it_is(number: Any) -> Any:
    """Return 3 for 3.0, as people wrote it; 0.5 and None as they are."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def augmentations(text: str | None) -> Any:
    """Return the augmentations that an option names; none of them for `none`."""
    from ..augmentations import as_augmentations
    from ..recipes import read, split_text

    if text is None:
        return None
    return as_augmentations([] if text.strip() == "none" else [read(piece) for piece in split_text(text)])


def at_least(name: str, value: float | None, low: float) -> None:
    """Raise unless an option is absent or at least `low`."""
    if value is not None and not low <= value < float("inf"):
        raise InputError(f"{name} must be >= {low:g} (got {value:g})")


def above_zero(name: str, value: float | None) -> None:
    """Raise unless an option is absent or above zero."""
    if value is not None and not 0 < value < float("inf"):
        raise InputError(f"{name} must be > 0 (got {value:g})")
