"""Ablations: ingredients are found and taken out by their text, and what they buy is measured on a task."""

from __future__ import annotations

import json
from typing import Any

import pytest

import steepest
from steepest.cli import main
from steepest.defaults import default_recipe
from steepest.racing.ingredients import ingredients, without
from steepest.recipes import Recipe, read

FULL = (
    "Recipe(chain(clip_global_norm(1.0), split(matrices=muon(0.02, weight_decay=0.01, schedule=one_cycle()), "
    "rest=adamw(0.003, schedule=one_cycle())), ema_weights(0.9)), batch=16, epochs=4, model=mlp((32,), norm='batch', "
    "dropout=0.1), objective=cross_entropy(label_smoothing=0.1), plateau=plateau(), patience=5, augment=(jitter(0.1), "
    "mixup(0.2)))"
)


def test_ingredients_are_what_a_recipe_prints() -> None:
    assert ingredients(read(FULL)) == [
        "clip_global_norm(1.0)",
        "weight_decay=0.01",
        "schedule=one_cycle()",
        "ema_weights(decay=0.9)",
        "dropout=0.1",
        "norm='batch'",
        "label_smoothing=0.1",
        "plateau=plateau()",
        "jitter(0.1)",
        "mixup(0.2)",
    ]
    assert ingredients(Recipe(steepest.sgd(0.1))) == []


def test_each_ingredient_can_be_taken_out() -> None:
    whole = read(FULL)
    names = ingredients(whole)
    for name in names:
        less = without(whole, [name])
        assert less != whole
        assert ingredients(less) == [other for other in names if other != name]
    bare = without(whole, names)
    assert ingredients(bare) == []
    assert bare.changes == ()
    assert bare.batch == 16
    assert "one_cycle" not in repr(bare)


@pytest.mark.parametrize("source", ["digits", "wine"])
def test_default_recipes_can_be_taken_apart(source: str) -> None:
    data = steepest.task(source).data
    recipe = default_recipe(data.form, data.size("train"))
    assert "schedule" in ingredients(recipe)[-1] + "".join(ingredients(recipe))
    assert ingredients(without(recipe, ingredients(recipe))) == []


def test_what_a_recipe_does_not_have_is_told() -> None:
    with pytest.raises(steepest.InputError, match="no ingredient 'schedule=cosin'; did you mean 'schedule=cosine"):
        without(read("Recipe(sgd(0.1, schedule=cosine()))"), ["schedule=cosin"])
    with pytest.raises(steepest.InputError, match="only a recipe that can be read back"):
        ingredients(Recipe(steepest.sgd(0.1), objective=lambda outputs, targets: outputs.sum()))
    with pytest.raises(steepest.InputError, match="nothing can be taken out of"):
        steepest.ablate("iris", "Recipe(sgd(0.1), model=linear_model())", seeds=1, processes=1)
    with pytest.raises(steepest.InputError, match=r"does not come to accuracy >= 0\.9"):
        steepest.ablate("iris", "Recipe(sgd(1e-6, schedule=cosine()), epochs=1)", seeds=1, processes=1)
    with pytest.raises(steepest.InputError, match="seeds must be a whole number >= 1"):
        steepest.ablate("iris", "adam", seeds=0)


ITS: dict[str, Any] = {"processes": 1, "progress": False, "epochs": 20, "batch": 16}


def test_what_helps_is_told_apart_from_what_does_nothing() -> None:
    """Clipping that never clips, and a warm-up that lasts too long."""
    recipe = "Recipe(chain(clip_global_norm(1e6), sgd(0.1, schedule=warmup_hold_cooldown(warmup=0.9))), model=mlp((16,)))"
    found = steepest.ablate("iris", recipe, seeds=5, **ITS)
    rows = {row.ingredient.split("(")[0].split("=")[0]: row for row in found.rows}
    assert set(rows) == {"clip_global_norm", "schedule"}
    assert rows["clip_global_norm"].bought is not None
    assert rows["clip_global_norm"].bought.ratio == pytest.approx(1.0, abs=0.2)
    assert rows["clip_global_norm"].verdict == "buys nothing that shows"
    assert rows["schedule"].verdict == "harmful"
    assert "clip_global_norm" not in repr(found.recommended)
    assert "schedule" not in repr(found.recommended)
    assert "recommended" in found.race.plan.names  # and it was run
    document = json.loads(json.dumps(steepest.records.jsonable(found.to_dict())))
    assert {row["verdict"] for row in document["ingredients"]} == {"buys nothing that shows", "harmful"}
    text = str(found)
    assert "recommended: Recipe(" in text
    assert "clip_global_norm" in text


def test_the_command_line_takes_recipes_apart(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["ablate", "iris", "--recipe", "Recipe(adamw(0.05, schedule=cosine()), batch=16, epochs=10)", "--seeds", "1"]
    assert main([*command, "--processes", "1", "--quiet"]) == 0
    assert "schedule=cosine()" in capsys.readouterr().out
    assert main([*command, "--processes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"].startswith("Recipe(adamw(0.05")
