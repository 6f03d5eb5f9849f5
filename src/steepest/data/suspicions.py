"""What a table's report should warn of: columns that give the label away, rows that two parts share, classes that are rare or
spelled in two ways.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import shown
from ..later import pl
from .columns import Column, Table
from .findings import CleaningReport
from .targets import Targets

RARE = 0.2  # share of the rarest class below which the classes are told ...
RARE_OF_EVEN = 0.5  # ... where it is also this much below the share that each of so many classes would have
LOOKED_AT = 10_000  # rows that clear most columns of suspicion


def tell_suspicions(
    table: Table, targets: Targets, dealt: Mapping[str, np.ndarray], label: str, report: CleaningReport
) -> None:
    """Add what looks wrong, though it may be right; nothing is changed."""
    for column in table.columns:
        if tells_label(column, targets.values):
            why = f"kept, but it gives the answer away: if new rows will not have it, add --drop {column.name}"
            report.add(f"warning: column equal to the label {label!r}, or one to one with it", 1, why, column.name)
    _tell_shared_rows(table, targets, dealt, report)
    _tell_rare_classes(targets, dealt, label, report)
    tell_spellings(targets, report, label)


def tells_label(column: Column, values: np.ndarray) -> bool:
    """Return whether each value of a column stands with one label, and each label with one value; missing cells aside."""
    for rows in (slice(None, None, max(1, len(values) // LOOKED_AT)), slice(None)):
        frame = pl.DataFrame({"cell": Column(column.name, column.kind, column.values[rows]).cells(), "label": values[rows]})
        frame = frame.drop_nulls("cell")
        if frame.height < 2 or values.ndim > 1:
            return False
        pairs, cells, labels = (frame.select(names).n_unique() for names in (["cell", "label"], ["cell"], ["label"]))
        if not pairs == cells == labels or labels < 2:
            return False
        if 2 * labels > frame.height and not (frame["cell"].dtype.is_numeric() and _on_a_line(frame)):
            return False  # values that seldom come again, in rows that do: only a line says that they are one
    return True


def _on_a_line(frame: pl.DataFrame) -> bool:
    return bool(abs(np.corrcoef(frame["cell"].to_numpy(), frame["label"].to_numpy())[0, 1]) > 1 - 1e-12)


def _tell_shared_rows(table: Table, targets: Targets, dealt: Mapping[str, np.ndarray], report: CleaningReport) -> None:
    """Count the rows of each part that equal a training row in every input and in the label."""
    columns = [column.cells().alias(f"input {i}") for i, column in enumerate(table.columns)]
    labels = targets.values.reshape(len(targets.values), -1)
    hashes = pl.DataFrame([*columns, *(pl.Series(f"label {i}", labels[:, i]) for i in range(labels.shape[1]))]).hash_rows()
    if hashes.n_unique() == len(hashes):
        return
    found = hashes.to_numpy()
    for name in ("validation", "test", "certificate"):
        shared = int(np.isin(found[dealt[name]], found[dealt["train"]]).sum())
        report.add(f"rows of the {name} part equal to a row of the train part", shared, "kept (they may be real)")


def tell_spellings(targets: Targets, report: CleaningReport, label: str | None = None) -> None:
    """Say which classes differ in nothing but capitals, with an example."""
    alike: dict[str, list[str]] = {}
    for name in targets.classes or ():
        alike.setdefault(str(name).casefold(), []).append(str(name))
    if pairs := [names for names in alike.values() if len(names) > 1]:
        one, other, *_ = pairs[0]
        why = f"kept apart, such as {shown(one)} and {shown(other)}; if they mean the same, write them alike"
        report.add("warning: classes that differ only in capitals", sum(map(len, pairs)), why, label)


def _tell_rare_classes(targets: Targets, dealt: Mapping[str, np.ndarray], label: str, report: CleaningReport) -> None:
    """Say the shares of the classes where the rarest is rare."""
    if targets.classes is None:
        return
    counts = np.bincount(targets.values[np.concatenate(list(dealt.values()))], minlength=targets.num_classes)
    shares = counts / counts.sum()
    rarest = int(np.argmin(counts))
    if shares[rarest] >= min(RARE, RARE_OF_EVEN / len(counts)):
        return
    order = np.argsort(-counts, kind="stable")
    told_of = [*order[:5], *order[max(5, len(order) - 3) :]]
    told = ", ".join(f"{targets.classes[i]} {shares[i]:.1%}" for i in told_of)
    loss = "binary_cross_entropy" if targets.num_classes == 2 else "cross_entropy"
    report.add(
        f"rows of the rarest class {targets.classes[rarest]!r}", int(counts[rarest]),
        f"kept; classes are not equally frequent ({told}): --objective '{loss}(class_weights=\"balanced\")' counts them alike; "
        "look at f1 and recall, not at accuracy alone",
        label,
    )  # fmt: skip
