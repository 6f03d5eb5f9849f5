"""Metrics: what a prediction is worth. NumPy only; what each metric is for stands in `steepest.reach`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .reach import metric
from .transcripts import error_rate

CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Predictions:
    """Predictions beside the truth: class probabilities (rows, classes) with class numbers, or numbers with numbers.

    Of a text whose next tokens were predicted, nothing is kept but the logarithm of the probability that each true token was
    given, and whether it was the most probable one. Where quantiles were predicted, `quantiles` holds them, (rows, ...,
    levels), and `values` the one nearest to the median. Of transcripts, `truth` and `texts` hold texts.
    """

    truth: np.ndarray
    probabilities: np.ndarray | None = None
    values: np.ndarray | None = None
    quantiles: np.ndarray | None = None
    levels: tuple[float, ...] = ()
    log_likelihood: np.ndarray | None = None
    right: np.ndarray | None = None
    texts: np.ndarray | None = None
    loss: float = float("nan")

    @property
    def classes(self) -> np.ndarray:
        """The most probable class of each row."""
        assert self.probabilities is not None
        return self.probabilities.argmax(axis=1)


def confusion(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Return how often class i (row) was predicted as class j (column), shape (classes, classes).

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    flat = truth.astype(np.int64) * num_classes + predicted
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def midranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1, equal values sharing their mean rank.

    >>> midranks(np.array([5, 1, 5])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _counts(p: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each class the hits, how often it was predicted and how often it was true."""
    assert p.probabilities is not None
    table = confusion(p.truth, p.classes, p.probabilities.shape[1])
    return table.diagonal(), table.sum(axis=0), table.sum(axis=1)


def _averaged(share: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> float:
    """Two classes: that of the second (the positive) class. More: the mean over classes that occur or are predicted."""
    return float(share[1]) if len(share) == 2 else float(share[(true > 0) | (predicted > 0)].mean())


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.maximum(whole, 1)


def accuracy(p: Predictions) -> float:
    """The share of rows whose most probable class is the true one; of transcripts, of those that are entirely right."""
    return float((p.classes == p.truth if p.right is None else p.right).mean())


def bits(p: Predictions) -> float:
    """Minus the mean logarithm to base 2 of the probability given to each true token: bits a character, of characters."""
    assert p.log_likelihood is not None
    return float(-p.log_likelihood.mean() / np.log(2))


def perplexity(p: Predictions) -> float:
    """Among how many equally probable tokens the model would be as unsure: `exp` of minus the mean log-likelihood."""
    assert p.log_likelihood is not None
    with np.errstate(over="ignore"):
        return float(np.exp(-p.log_likelihood.mean()))


def cer(p: Predictions) -> float:
    """The character error rate: insertions, deletions and substitutions, as a share of the true characters; may exceed 1."""
    assert p.texts is not None
    return error_rate(p.truth.tolist(), p.texts.tolist())


def wer(p: Predictions) -> float:
    """The word error rate: as `cer`, of the words between white space."""
    assert p.texts is not None
    return error_rate([text.split() for text in p.truth], [text.split() for text in p.texts])


def precision(p: Predictions) -> float:
    """Of the rows predicted as a class, the share that belongs to it."""
    hits, predicted, true = _counts(p)
    return _averaged(_ratio(hits, predicted), predicted, true)


def recall(p: Predictions) -> float:
    """Of the rows that belong to a class, the share predicted so."""
    hits, predicted, true = _counts(p)
    return _averaged(_ratio(hits, true), predicted, true)


def f1(p: Predictions) -> float:
    """The harmonic mean of precision and recall, `2 hits / (predicted + true)` per class."""
    hits, predicted, true = _counts(p)
    return _averaged(_ratio(2 * hits, predicted + true), predicted, true)


def balanced_accuracy(p: Predictions) -> float:
    """The mean over the classes that occur of the share of their rows predicted so."""
    hits, _, true = _counts(p)
    return float((hits[true > 0] / true[true > 0]).mean())


def mcc(p: Predictions) -> float:
    """Matthews' correlation of predicted and true classes: 1 right, 0 no better than chance, -1 (two classes) all wrong.

    `(c s - sum p t) / sqrt((s^2 - sum p^2) (s^2 - sum t^2))`: `c` hits in all, `s` rows, `p` and `t` how often each class was
    predicted and was true; 0 where only one class is predicted or occurs.

    Source: Gorodkin, 2004, https://doi.org/10.1016/j.compbiolchem.2004.09.006.
    """
    hits, predicted, true = (each.astype(np.float64) for each in _counts(p))
    rows = true.sum()
    spread = np.sqrt((rows**2 - predicted @ predicted) * (rows**2 - true @ true))
    return float((hits.sum() * rows - predicted @ true) / spread) if spread > 0 else 0.0


def top(p: Predictions, k: int) -> float:
    """The share of rows whose true class is among the `k` most probable ones: the metrics `top5`, `top3` and so on."""
    assert p.probabilities is not None
    best = np.argsort(-p.probabilities, axis=1, kind="stable")[:, :k]
    return float((best == p.truth[:, None]).any(axis=1).mean())


def auc(p: Predictions) -> float:
    """The probability that a row of the class scores above one of another class (ties count half).

    More than two classes: one against the rest, averaged over the classes that occur. Hanley, McNeil, 1982.
    """
    return _one_against_rest(_auc, p)


def average_precision(p: Predictions) -> float:
    """The area under precision against recall, `sum (recall_n - recall_n-1) precision_n` over falling thresholds.

    More than two classes: one against the rest, averaged over the classes that occur.
    """
    return _one_against_rest(_average_precision, p)


def _one_against_rest(score: Callable[[np.ndarray, np.ndarray], float], p: Predictions) -> float:
    assert p.probabilities is not None
    if p.probabilities.shape[1] == 2:
        with np.errstate(divide="ignore"):  # the logarithm of the odds still tells apart what rounds to probability 1
            return score(p.truth == 1, np.log(p.probabilities[:, 1]) - np.log(p.probabilities[:, 0]))
    present = [k for k in range(p.probabilities.shape[1]) if 0 < (p.truth == k).sum() < len(p.truth)]
    return float(np.mean([score(p.truth == k, p.probabilities[:, k]) for k in present])) if present else float("nan")


def _average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    if not positive.any() or np.isnan(score).any():
        return float("nan")
    _, place = np.unique(-score, return_inverse=True)  # rows of one score stand or fall together
    found, seen = np.cumsum(np.bincount(place, weights=positive)), np.cumsum(np.bincount(place))
    return float((np.diff(found, prepend=0) * found / seen).sum() / positive.sum())


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return float("nan")
    if np.isnan(score).any():
        return float("nan")
    rank_sum = midranks(score)[positive].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def log_loss(p: Predictions) -> float:
    """Minus the mean logarithm of the probability given to the true class."""
    assert p.probabilities is not None
    chosen = p.probabilities[np.arange(len(p.truth)), p.truth]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


def calibration_error(p: Predictions, bins: int = CALIBRATION_BINS) -> float:
    """The expected calibration error: how far confidence is from accuracy, averaged over bins of confidence.

    `sum over bins of share * |accuracy - mean confidence|`, ten bins of equal width. Guo et al., 2017, arXiv:1706.04599.
    """
    assert p.probabilities is not None
    confidence = p.probabilities.max(axis=1)
    if np.isnan(confidence).any():  # of a network that diverged
        return float("nan")
    right = p.classes == p.truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(right[place == b].mean() - confidence[place == b].mean()) * (place == b).mean() for b in np.unique(place)]
    return float(sum(gaps))


def _errors(p: Predictions) -> np.ndarray:
    assert p.values is not None
    return (p.values - p.truth).astype(np.float64)


def mse(p: Predictions) -> float:
    """The mean squared error, in the squared units of the label."""
    return float(np.square(_errors(p)).mean())


def mae(p: Predictions) -> float:
    """The mean absolute error, in the units of the label."""
    return float(np.abs(_errors(p)).mean())


def rmse(p: Predictions) -> float:
    """The root of the mean squared error, in the units of the label."""
    return float(np.sqrt(np.square(_errors(p)).mean()))


def r2(p: Predictions) -> float:
    """The share of the variance that is explained, `1 - sum(error^2) / sum((truth - mean)^2)`; below 0: worse than the mean.

    Of several targets, the mean of their shares.
    """
    spread = np.square(p.truth - p.truth.mean(axis=0)).sum(axis=0)
    error = np.square(_errors(p)).sum(axis=0)
    return float((1 - error / spread).mean()) if np.all(spread > 0) else float("nan")


def mape(p: Predictions) -> float:
    """The mean absolute error as a share of the truth; NaN where a truth is 0."""
    return float((np.abs(_errors(p)) / np.abs(p.truth)).mean()) if np.all(p.truth != 0) else float("nan")


def pinball(p: Predictions) -> float:
    """The mean over rows and quantiles of `max(q e, (q - 1) e)`, `e = truth - quantile`; of one number a row, half the MAE."""
    assert p.values is not None
    quantiles, levels = (p.quantiles, np.array(p.levels)) if p.quantiles is not None else (p.values[..., None], np.array([0.5]))
    error = p.truth[..., None] - quantiles
    return float(np.maximum(levels * error, (levels - 1) * error).mean())


def poisson_deviance(p: Predictions) -> float:
    """How far counts `y` are from expected counts `m`: the mean of `2 (y log(y / m) - y + m)`; NaN where an `m` is 0."""
    assert p.values is not None
    y, m = np.asarray(p.truth, dtype=np.float64), p.values
    if not (np.all(m > 0) and np.all(y >= 0)):
        return float("nan")
    return float(2 * (np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / m), 0) - y + m).mean())


def loss(p: Predictions) -> float:
    """The objective itself, without regularisers."""
    return p.loss


FUNCTIONS: dict[str, Callable[[Predictions], float]] = {
    function.__name__: function
    for function in (
        accuracy, precision, recall, f1, balanced_accuracy, mcc, auc, average_precision, log_loss, calibration_error, bits,
        perplexity, cer, wer, mse, mae, rmse, r2, mape, pinball, poisson_deviance, loss,
    )
}  # fmt: skip


class Measure(Protocol):
    """A metric of the caller's own: it has a name, and is called with the predictions."""

    @property
    def name(self) -> str: ...

    def __call__(self, predictions: Predictions, /) -> float: ...


def measure(chosen: Sequence[str | Measure], predictions: Predictions) -> dict[str, float]:
    """Return each metric of the predictions: a name's, or the caller's own."""
    return {one if isinstance(one, str) else one.name: _measured(one, predictions) for one in chosen}


def _measured(one: str | Measure, predictions: Predictions) -> float:
    if not isinstance(one, str):
        return one(predictions)
    name = metric(one).name
    return FUNCTIONS[name](predictions) if name in FUNCTIONS else top(predictions, int(name.removeprefix("top")))
