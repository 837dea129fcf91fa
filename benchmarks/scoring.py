"""Two scores of samples of a run, as evaluate.py has them."""

import numpy as np

from diffjax import evaluation
from diffjax.commands import evaluation_subject
from diffjax.evaluation.paired import subsample_equally
from diffjax.evaluation.pixels import fractions_of


def labels_of(model: evaluation_subject.EvaluationSubject, split: str) -> np.ndarray:
    """The labels of a split that has some."""
    labels = model.splits[split][1]
    assert labels is not None
    return labels


def accuracy(model: evaluation_subject.EvaluationSubject, pixels: np.ndarray, labels: np.ndarray) -> float:
    """The share of samples, [n, d] in [0, 1], that a classifier of the training images takes for these labels."""
    train, *_ = fractions_of(model.splits, model.info.facts.levels)
    gamma = evaluation.kernels_for(train.shape[1]).accuracy_gamma
    return evaluation.label_accuracy(train, labels_of(model, "train"), pixels, labels, gamma)


def frechet_ratio(model: evaluation_subject.EvaluationSubject, pixels: np.ndarray) -> float:
    """The Fréchet distance of samples to the test images, over that of as many training images."""
    train, _, test = fractions_of(model.splits, model.info.facts.levels)
    ours, learnt = subsample_equally(pixels, train)
    return evaluation.frechet(ours, test) / evaluation.frechet(learnt, test)
