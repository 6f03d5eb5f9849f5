"""The floors of the house, drawn from the code's imports: they run down only, and never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import steepest

SOURCE = Path(steepest.__file__).parent

# From the top. A module belongs to the floor that names it, or its folder.
FLOORS = (
    ("cli", "__main__"),
    ("reporting",),
    ("racing", "assessment", "estimators", "diagnosis"),
    ("training",),
    ("tasks", "recipes", "defaults", "augmentations", "evaluation", "gradient", "backpropagation"),
    ("together", "optimizer", "groups", "state", "averages", "hooks"),
    ("kernels",),
    ("own",),
    ("rules", "schedules", "models", "data", "objectives", "metrics"),
    ("records", "sources", "downloads", "machine", "checkpoints", "index", "sinks"),
    ("reach", "forms", "transcripts"),
    ("plans",),
    ("calls",),
    ("errors", "values", "clock", "progress", "durable", "stopping", "later"),
)
# On one floor, who may look at whom; anything else on the same floor is a stranger.
NEIGHBOURS = {
    "__main__": {"cli"},
    "optimizer": {"groups", "state", "averages", "hooks"},
    "together": {"optimizer"},
    "groups": {"state"},
    "averages": {"state"},
    "gradient": {"backpropagation"},
    "recipes": {"augmentations", "gradient"},
    "defaults": {"augmentations", "recipes"},
    "rules": {"schedules"},
    "downloads": {"sources"},
    "objectives": {"data"},
    "clock": {"errors"},
    "index": {"records"},
    "sinks": {"records"},
}


def imports() -> dict[str, set[str]]:
    """Return for each room (a folder or a file of the package) the rooms it imports, wherever the import stands."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts == ("__init__",):
            continue
        room = found.setdefault(parts[0], set())
        package = parts[:-1]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1]
                target = [*base, *(node.module or "").split(".")] if node.module else list(base)
                names = [target[0]] if target else [alias.name for alias in node.names]
                room.update(name for name in names if name not in (parts[0], "", "__version__"))
    return found


def floor_of(room: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


def test_every_room_stands_on_a_floor() -> None:
    rooms = {path.relative_to(SOURCE).with_suffix("").parts[0] for path in SOURCE.rglob("*.py")} - {"__init__"}
    assert rooms == {room for floor in FLOORS for room in floor}


def test_imports_run_down_only() -> None:
    upward = [
        f"{room} imports {other}"
        for room, others in imports().items()
        for other in others
        if floor_of(other) < floor_of(room) or (floor_of(other) == floor_of(room) and other not in NEIGHBOURS.get(room, set()))
    ]
    assert not upward


def test_no_file_imports_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts)
        graph[name] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                base = parts[: len(parts) - node.level]
                target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
                for alias in node.names:
                    inside = f"{target}.{alias.name}".strip(".")
                    graph[name].add(inside if (SOURCE / (inside.replace(".", "/") + ".py")).exists() else target)
    graph = {name: {other for other in others if other in graph} for name, others in graph.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_no_module_is_named_like_a_public_function() -> None:
    modules = {path.stem for path in SOURCE.glob("*.py")} | {path.name for path in SOURCE.iterdir() if path.is_dir()}
    assert not modules & set(steepest.__all__)


def test_light_floors_do_not_import_torch() -> None:
    """What the command line needs to answer wrong arguments imports neither torch nor scikit-learn."""
    import subprocess
    import sys

    rooms = "steepest.rules, steepest.schedules, steepest.recipes, steepest.tasks, steepest.metrics, steepest.models"
    check = f"import {rooms}, steepest.data, steepest.cli.app, steepest.racing.contenders, sys; "
    check += "print([name for name in ('torch', 'sklearn', 'plotly', 'cloudpickle') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
