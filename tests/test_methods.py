"""Methods and their evidence cards: that each is a recipe, and that the list says what is known of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import steepest
from steepest.cli import main
from steepest.racing.methods import BARE, METHODS, UNTESTED, Card, Method, Methods, cards
from steepest.racing.spaces import Space

MODELS = {
    "": "mlp((8, 8)",
    "mlp": "mlp((8, 8)",
    "residual_cnn": "residual_cnn(width=4, stages=1",
    "transformer": "transformer(width=16, layers=2, heads=2",
}


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_each_is_a_recipe_that_differs_from_the_bare_one(method: Method) -> None:
    base = {"batch": "16", "epochs": "2"}
    recipe, bare = (Space(one.recipe("adamw", MODELS[method.network], **base)).middle for one in (method, BARE))
    assert recipe != bare
    assert recipe.batch == bare.batch == 16
    assert all((method.spelled, method.costs, method.claims, method.source))
    if "image" not in method.kinds and method.network != "transformer":
        run = steepest.fit("iris", recipe, record=False)
        assert math.isfinite(run.metrics["loss"])


def test_the_list_says_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "cards.json"
    told = {
        "method": "mixup", "task": "digits to accuracy >= 0.97", "ratio": 0.0, "interval": [0.0, "inf"], "p": 0.01, "seeds": 5,
        "seconds": [1.5, "inf"], "verdict": "slower",
    }  # fmt: skip
    path.write_text(json.dumps({"cards": [told]}))
    found = cards(path)
    assert found == [Card("mixup", "digits to accuracy >= 0.97", 0.0, (0.0, math.inf), 0.01, 5, (1.5, math.inf), "slower")]
    text = str(Methods((METHODS["mixup"], METHODS["dropout"]), tuple(found)))
    assert "digits to accuracy >= 0.97: 0.00x [0.00, inf], 5 seeds, slower" in text
    assert text.count(UNTESTED) == 1
    assert not cards(tmp_path / "none.json")


def test_methods_by_name() -> None:
    assert len(steepest.methods().methods) == len(METHODS)
    assert "selective" in str(steepest.methods("selective backprop"))
    with pytest.raises(steepest.InputError, match="did you mean 'mixup'"):
        steepest.methods("mixxup")


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "mixup"]) == 0
    assert "augment=mixup(0.2)" in capsys.readouterr().out
    assert main(["methods", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {method["name"] for method in document["methods"]} == set(METHODS)
    assert main(["methods", "mixxup"]) == 2


def test_every_card_is_of_a_method_that_there_is() -> None:
    assert all(card.method in METHODS for card in cards())
