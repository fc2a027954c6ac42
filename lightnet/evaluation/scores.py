"""What a network says of slices that are resized already: in training, evaluation and audit alike."""

import numpy as np
from tqdm import tqdm

from ..data.batches import batches
from ..losses import softmax


def predict_logits(net, greys, batch_size=32, progress=False):
    """Logits (M, classes) of resized slices (M, S, S), at inference."""
    logits = []
    with tqdm(total=len(greys), unit=" images", disable=not progress, leave=False) as bar:
        for x, labels in batches(greys, np.zeros(len(greys), int), batch_size, net.meta):
            logits.append(net.forward(x))
            bar.update(len(labels))
    return np.concatenate(logits)


def p_covid(logits):
    """The score of the class COVID, (M,): its softmax probability."""
    return softmax(logits)[:, 1]
