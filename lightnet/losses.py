"""The loss: how wrong the logits are, in one number, and the gradient that starts backward.

Logits are the network's last numbers, one for each class and any real value; the larger, the likelier the class.
"""

import numpy as np

from .errors import ShapeError


def softmax(logits):
    """``p[n, k] = exp(z[n, k]) / sum over j of exp(z[n, j])``: logits (..., K) to probabilities (..., K).

    Subtracting the row's largest logit m changes nothing, since the factor exp(-m) cancels, and keeps exp from overflowing.

    Examples
    --------
    >>> softmax(np.log([[1.0, 3.0]]))
    array([[0.25, 0.75]])
    """
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_cross_entropy(logits, labels):
    """Mean cross-entropy of the softmax with the labels, and its gradient.

    With p = softmax(z) and one-hot labels t, ``L = -mean over n of log p[n, label[n]]`` and

        dL/dz = (p - t) / N

    For one image with the label k, -log p[k] = log(sum exp(z)) - z[k], whose derivative by z[j] is p[j] - [j = k], that is
    p - t; the mean over N images divides by N. The gradient is simply what the probabilities are off by.

    Parameters
    ----------
    logits : ndarray (N, K)
    labels : array of int (N,)
        The right class of each row, in 0..K-1.

    Returns
    -------
    loss : float
    dlogits : ndarray (N, K)
        In the logits' precision.

    Raises
    ------
    ShapeError
        Where the shapes do not fit, or a label is not an integer in 0..K-1.

    References
    ----------
    Bishop, "Pattern recognition and machine learning", 2006, equations 4.108 and 4.109.

    Examples
    --------
    >>> loss, dlogits = softmax_cross_entropy(np.log([[1.0, 3.0], [1.0, 1.0]]), [1, 0])
    >>> round(loss, 4)                                            # (-log(3/4) - log(1/2)) / 2
    0.4904
    >>> dlogits
    array([[ 0.125, -0.125],
           [-0.25 ,  0.25 ]])
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ShapeError(f"logits of shape {logits.shape} and labels of shape {labels.shape}, expected (N, K) and (N,)")
    N, K = logits.shape
    if N == 0:
        raise ShapeError("logits of no images: they have no mean loss; expected one or more")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= K:
        raise ShapeError(f"labels {labels[:5]}... of {labels.dtype}, expected integers from 0 to {K - 1}")
    row = np.arange(N)
    z = logits - logits.max(axis=1, keepdims=True)          # as in softmax
    loss = (np.log(np.exp(z).sum(axis=1)) - z[row, labels]).mean()      # -log p[k], without the log of a p that rounds to 0
    dlogits = softmax(z)                                    # (N, K)
    dlogits[row, labels] -= 1
    dlogits /= N
    return float(loss), dlogits
