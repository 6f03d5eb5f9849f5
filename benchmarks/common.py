"""What all benchmarks share: arguments, one table on the terminal, one JSON file with everything a figure depends on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from steepest.records import jsonable
from steepest.training.identity import versions

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")


def arguments(description: str, *, only: bool = False) -> argparse.Namespace:
    """Return `--quick` and `--data`; the folder of real data also comes from STEEPEST_DATA. `only` adds `--only`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions; writes no result")
    parser.add_argument("--data", type=Path, default=os.environ.get("STEEPEST_DATA"), help="folder of real data sets")
    if only:
        parser.add_argument("--only", help="names of cases, with semicolons between; what was measured of the others stays")
    return parser.parse_args()


def data_folder(options: argparse.Namespace, name: str) -> Path | None:
    """Return the folder of one data set, or None after saying what is skipped."""
    folder = Path(options.data) / name if options.data else None
    if folder is None or not folder.is_dir():
        print(f"skipped: {name} (name the folder of real data sets with --data or STEEPEST_DATA)")
        return None
    return folder


def spread(values: Sequence[float]) -> str:
    """Return median, lowest and highest of a sample."""
    return f"{statistics.median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def show(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print an aligned table."""
    table = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def stored(name: str, key: str = "name") -> dict[str, Any]:
    """Return what `benchmarks/results/NAME.json` holds of each case, by that key; nothing where there is no file."""
    path = RESULTS / f"{name}.json"
    found = json.loads(path.read_text())["results"] if path.is_file() else []
    return {result[key]: result for result in found if key in result}


def write(name: str, options: argparse.Namespace, **content: Any) -> None:
    """Write `benchmarks/results/NAME.json`, unless this was only a quick look."""
    if options.quick:
        return
    document = {
        "benchmark": name,
        "command": f"python -m benchmarks.{name}",
        "hardware": {"processor": versions(CPU)["device"], "cores": os.cpu_count(), "machine": platform.machine()},
        "versions": versions(CPU) | {"executable": platform.python_implementation()},
        "threads": torch.get_num_threads(),
        **content,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(jsonable(document), indent=2) + "\n")
    print(f"\nwritten: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}", file=sys.stderr)
