"""Data sets of the `datasets` package (Hugging Face), taken as they are; the package itself is never imported.

A column of images makes images, a column of text beside classes makes texts, anything else a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError, blaming, unknown
from ..later import pl
from .cleaning import CleaningReport
from .core import Data
from .inputs import Images, Texts
from .kinds import MAX_DISTINCT_SHARE
from .pictures import decode
from .splitting import SHARES, deal_around
from .tables import read_table
from .targets import Targets, check_taught, encode, kind_of_whole_numbers
from .texts import check_tokens

PART_NAMES = {
    "train": "train", "test": "test", "validation": "validation", "val": "validation", "valid": "validation",
    "dev": "validation",
}  # fmt: skip
COUNTERS = ("idx", "id", "index", "__index_level_0__")  # columns that number the rows
ROW = "(row)"  # where a row stood before those without a label were left out
LABELS = ("label", "labels", "target", "class")


def is_hub(value: Any) -> bool:
    """Return whether a value is a data set of the `datasets` package, told by its type's module."""
    return type(value).__module__.split(".")[0] == "datasets" and type(value).__name__ in (
        "Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict",
    )  # fmt: skip


def from_hub(
    dataset: Any,
    *,
    label: str | None = None,
    text: str | None = None,
    size: Any = None,
    tokens: str = "words",
    on_bad_row: str = "stop",
    scaling: str = "standard",
    kind: str | None = None,
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str = "dataset",
) -> Data:
    """Make Data from a `Dataset` of Hugging Face's, or a `DatasetDict` whose train, validation and test are those parts.

    Args:
        dataset: as `datasets.load_dataset` returns it, without streaming.
        label: the column to predict; None: the only column of classes, or the one called `label`.
        text: the column of texts to learn from; None: the only one, where nothing but numbers of rows stands beside it.
        size: (height, width) that images are resized to; None: they must have one size.
        tokens: of texts, `"words"` or `"bpe"`.
        on_bad_row: at an image or a row of a table that cannot be right, `"stop"` or `"skip"` it.
        scaling: of numbers and pixels: `"standard"`, `"minmax"`, `"robust"` or `"none"`.
        kind: `"classification"` or `"regression"`; None: told from the label.
        parts: shares of train, validation, test and certificate; the shares of parts that are given go to the others.
        seed: how rows are dealt out.
        name: what records call the data.
    """
    report = CleaningReport()
    sets = _sets(dataset, report)
    features = sets["train"].features
    label = _label(features, label)
    with blaming("the dataset"):
        frames = {part: _frame(one, features, label, report) for part, one in sets.items()}
    frames = {part: frame for part, frame in frames.items() if frame.height}
    if "train" not in frames:
        raise InputError(f"no row of the train part has a label in the column {label!r}")
    others = [column for column in features if column != label]
    kind = kind or ("classification" if hasattr(features[label], "names") else None)
    options = {"kind": kind, "scaling": scaling, "parts": parts, "seed": seed, "name": name}
    image = next((column for column in others if type(features[column]).__name__ == "Image"), None)
    text = _text_column(frames["train"], features, others, text) if image is None else None
    if image is None and text is None:
        return _table(frames, label, report, {**options, "on_bad_row": on_bad_row}, features[label])
    column = str(text if image is None else image)
    report.add("columns beside it", len(others) - 1, "left out")
    inputs, labels, where = _of_one_column(frames, label, column, report, size, tokens, on_bad_row, images=image is not None)
    names_of = getattr(features[label], "names", None)
    check_taught(labels if names_of is None else np.array(names_of)[labels], where, name)
    targets = encode(labels, name, f"label {label!r}", kind or kind_of_whole_numbers(labels))
    targets = _named(targets, features[label])
    report.rows = len(labels)
    return _dealt(Data(name, inputs, targets, {"train": where}, report, scaling), where, parts, seed)


def _of_one_column(
    frames: Mapping[str, pl.DataFrame], label: str, column: str, report: CleaningReport, size: Any, tokens: str,
    on_bad_row: str, *, images: bool,
) -> tuple[Images | Texts, np.ndarray, np.ndarray]:  # fmt: skip
    """Return the images or texts of a column, their labels, and the part of each."""
    where = np.repeat(list(frames), [frame.height for frame in frames.values()])
    labels = np.concatenate([frame[label].to_numpy() for frame in frames.values()])
    if not images:
        report.columns = 1
        return Texts(_texts(frames, column, report), check_tokens(tokens), column), labels, where
    cells = [cell for frame in frames.values() for cell in _cells(frame[column])]
    names = [f"row {row} of {part}, column {column!r}," for part, frame in frames.items() for row in frame[ROW]]
    values, kept = decode(cells, names, report, size=size, on_bad_row=on_bad_row)
    report.columns = int(np.prod(values.shape[1:]))
    return Images(values), labels[kept], where[kept]


def _dealt(data: Data, where: np.ndarray, parts: tuple[float, ...], seed: int) -> Data:
    """Return data with the rows of a test and a validation part where they were given, and the others dealt out."""
    given = {part: np.flatnonzero(where == part) for part in np.unique(where).tolist() if part != "train"}
    data.test_given = "test" in given
    return data.with_parts(deal_around(data.targets, parts, seed, data.name, given))


def _sets(dataset: Any, report: CleaningReport) -> dict[str, Any]:
    """Return the data set of each part; all is train where there is one set alone."""
    if type(dataset).__name__.startswith("Iterable"):
        raise InputError(
            "a streamed data set has no rows that could be dealt out; load it without streaming, or collect some: "
            "Dataset.from_list(list(dataset.take(10_000)))"
        )
    if not isinstance(dataset, Mapping):
        sets = {"train": dataset}
    else:
        sets = {PART_NAMES[part]: one for part, one in dataset.items() if part in PART_NAMES}
        report.add("parts beside train, validation and test", len(dataset) - len(sets), "left out")
    if "train" not in sets:
        raise InputError(
            f"expected a part called train (got {', '.join(map(str, dataset)) or 'none'}); pass one: dataset['...']"
        )
    if not len(sets["train"]):
        raise InputError("the dataset is empty (0 rows)")
    return sets


def _label(features: Mapping[str, Any], label: str | None) -> str:
    """Return the column to predict."""
    if label is not None:
        if label not in features:
            raise unknown("label column", label, features)
        return label
    classes = [column for column, feature in features.items() if hasattr(feature, "names")]
    known = classes if len(classes) == 1 else [column for column in features if column.lower() in LABELS]
    if len(known) != 1:
        raise InputError(f"which column is to be predicted? add label= (one of {', '.join(features)})")
    return known[0]


def _frame(dataset: Any, features: Mapping[str, Any], label: str, report: CleaningReport) -> pl.DataFrame:
    """Return the rows that have a label; numbers of classes become their names in all columns but the label."""
    if lacking := [column for column in features if column not in dataset.features]:
        raise InputError(f"a part of the dataset lacks the column {lacking[0]!r} of its train part")
    frame = dataset.to_polars().select(list(features)).with_row_index(ROW)
    absent = frame[label].is_null()
    if hasattr(features[label], "names") and frame[label].dtype.is_integer():
        absent |= (frame[label] < 0).fill_null(True)  # how hidden labels of a test part are marked
    report.add("rows without a label", int(absent.sum()), "left out")
    frame = frame.filter(~absent)
    for column, feature in features.items():
        if column != label and hasattr(feature, "names"):
            frame = frame.with_columns(_renamed(frame[column], feature.names))
    return frame


def _renamed(codes: pl.Series, names: Sequence[str]) -> pl.Series:
    found = [names[code] if code is not None and 0 <= code < len(names) else None for code in codes]
    return pl.Series(codes.name, found, dtype=pl.String)


def _named(targets: Targets, feature: Any) -> Targets:
    """Return targets whose classes have their names, in the order of the data set."""
    names = getattr(feature, "names", None)
    if names is None or targets.classes is None or not all(isinstance(code, int) for code in targets.classes):
        return targets
    return Targets(targets.kind, targets.values, tuple(names[code] for code in targets.classes))


def _table(
    frames: Mapping[str, pl.DataFrame], label: str, report: CleaningReport, options: dict[str, Any], feature: Any
) -> Data:
    """Return a table; rows of parts that are given are read with the columns and kinds of the train part."""
    held = [(part, frame.drop(ROW)) for part, frame in frames.items() if part != "train"]
    data = read_table(
        frames["train"].drop(ROW), label, test=pl.concat([frame for _, frame in held]) if held else None, **options
    )
    data.cleaning.findings[:0] = report.findings
    data.targets = _named(data.targets, feature)
    where = np.repeat([part for part, _ in held], [frame.height for _, frame in held])
    where = where if data.cleaning.kept is None else where[data.cleaning.kept]  # some may have been skipped
    where = np.concatenate([np.repeat("train", len(data) - len(where)), where])
    return _dealt(data, where, options["parts"], options["seed"])


def _text_column(frame: pl.DataFrame, features: Mapping[str, Any], others: list[str], asked: str | None) -> str | None:
    """Return the column of texts, if that is what there is to learn from."""
    strings = [column for column in others if frame[column].dtype == pl.String and not hasattr(features[column], "names")]
    if asked is not None:
        if asked not in strings:
            raise unknown("column of text", asked, strings)
        return asked
    if len(strings) != 1 or any(column not in (*strings, *COUNTERS) for column in others):
        return None
    return strings[0] if frame[strings[0]].n_unique() > MAX_DISTINCT_SHARE * frame.height else None


def _texts(frames: Mapping[str, pl.DataFrame], column: str, report: CleaningReport) -> np.ndarray:
    found = [text or "" for frame in frames.values() for text in frame[column]]
    report.add("empty texts", sum(not text.strip() for text in found), "kept, as one unknown word")
    values = np.empty(len(found), dtype=object)
    values[:] = found
    return values


def _cells(column: pl.Series) -> list[Any]:
    """Return the images of a column: their content, or the path where it lies."""
    return [(cell and (cell["bytes"] or cell["path"])) or b"" for cell in column]
