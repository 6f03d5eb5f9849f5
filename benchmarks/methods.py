"""What does each speed-up method buy? Evidence cards: every method raced against the same recipe without it, on real tasks.

Both are searched over the learning rate in the same way (`race` of two spaces), and judged on fresh seeds. Methods that do not
go with a task's data are left out; on convolutions and transformers only those that are part of such a network are raced.
Cards go into `src/steepest/racing/cards.json`, which `steepest methods` lists.

Run: python -m benchmarks.methods [--only "mixup;dropout"] [--data DIR]
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import steepest
from benchmarks import common
from steepest.racing.methods import BARE, CARDS, METHODS, Card, Method, cards
from steepest.records import jsonable

TRIES, SEEDS = 12, 5


@dataclass(frozen=True)
class Case:
    """A task, and the recipe that methods are added to.

    Attributes:
        source: what `steepest.task` takes, a path below the folder of real data.
        options: of `steepest.task`.
        reach: the target, near the best of what the recipe comes to.
        model: of its network, the call without the bracket that closes it.
        batch: of the recipe.
        epochs: after which the target is missed.
    """

    name: str
    source: str
    reach: str
    model: str
    batch: str
    epochs: float
    options: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()

    def suits(self, method: Method) -> bool:
        """Return whether a method goes with the data, and is raced on this network: that it is a part of, else a perceptron."""
        of_the_data = not method.kinds or bool(set(method.kinds) & set(self.kinds))
        return of_the_data and self.model.startswith(method.network or "mlp")

    def task(self, folder: Path | None) -> steepest.Task:
        options = dict(self.options)
        if folder is not None and "test" in options:
            options["test"] = str(folder / options["test"])
        source = self.source if folder is None else str(folder / self.source)
        return steepest.task(source, reach=self.reach, name=self.name, **options)


ADULT = {"label": -1, "header": False, "test": "adult/adult-test.csv.gz"}
CASES = (
    Case("digits", "digits", "accuracy >= 0.97", "mlp((128, 128)", "32", 60, kinds=("image",)),
    Case("adult", "adult/adult-train.csv.gz", "auc >= 0.91", "mlp((64, 64)", "128", 10, ADULT, ("table",)),
    Case("Fashion-MNIST", "fashion_mnist", "accuracy >= 0.87", "mlp((64, 64)", "128", 15, kinds=("image",)),
    Case("digits, CNN", "digits", "accuracy >= 0.98", "residual_cnn(width=8, stages=2", "32", 20, kinds=("image",)),
    Case("Fashion-MNIST, CNN", "fashion_mnist", "accuracy >= 0.88", "residual_cnn(width=8, stages=2", "128", 4,
         kinds=("image",)),
    Case("TREC", "text_classification/TREC.train.all", "accuracy >= 0.8", "transformer(width=64, layers=4", "32", 8,
         kinds=("text",)),
    Case("SST-2", "text_classification/stsa.binary.train", "accuracy >= 0.77", "transformer(width=64, layers=4", "32", 6,
         kinds=("text",)),
)  # fmt: skip


def card(method: Method, case: Case, task: steepest.Task) -> Card:
    """Race a method on a task."""
    base = {"batch": case.batch, "epochs": f"{case.epochs:g}"}
    without = BARE.recipe("adamw", case.model, **base, name="'without'")
    with_it = method.recipe("adamw", case.model, **base, name="'with'")
    race = steepest.race(
        task, [without, with_it], baseline="without", seeds=SEEDS, tries=TRIES, record=False, epochs=case.epochs, progress=False
    )
    rows = {row.recipe: row for row in race.leaderboard().rows}
    versus, row = rows["with"].versus_baseline, rows["with"]
    seconds = rows["without"].seconds_to_target, row.seconds_to_target
    told = f"{case.name} to {case.reach}"
    if versus is None:  # one of them never came to the target in its search
        ratio = 0.0 if math.isinf(seconds[1]) else math.inf
        return Card(method.name, told, ratio, (ratio, ratio), math.nan, row.seeds, seconds, row.verdict)
    return Card(method.name, told, versus.ratio, versus.interval, versus.p, versus.pairs, seconds, row.verdict)


def main() -> None:
    options = common.arguments(__doc__ or "", only=True)
    chosen = [method for name, method in METHODS.items() if not options.only or name in options.only.split(";")]
    kept = {(one.method, one.task): one for one in cards()}
    for case in CASES:
        folder = None if case.source == "digits" else common.data_folder(options, case.source.split("/")[0])
        if folder is None and case.source != "digits":
            continue
        task = case.task(None if folder is None else Path(options.data))
        for method in chosen:
            if not case.suits(method):
                continue
            found = card(method, case, task)
            print(f"{method.name}: {found}", flush=True)
            kept[found.method, found.task] = found
            if not options.quick:
                text = json.dumps(
                    jsonable({"command": "python -m benchmarks.methods", "cards": [*map(_told, kept.values())]}), indent=1
                )
                CARDS.write_text(text + "\n")
    common.write("methods", options, seeds=SEEDS, tries=TRIES, cards=[*map(_told, kept.values())])


def _told(one: Card) -> dict[str, Any]:
    """Return a card as JSON keeps it."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [*map(plain, value)]
        return "inf" if isinstance(value, float) and math.isinf(value) else value

    return {name: plain(value) for name, value in asdict(one).items()}


if __name__ == "__main__":
    main()
