"""The training loop: an epoch is every training image once, in batches; after it the validation set is looked at."""

import time
import warnings
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from ..data.batches import batches
from ..errors import TrainingError
from ..evaluation.scores import predict_logits
from ..graph import Graph
from ..losses import softmax_cross_entropy
from ..optim import SGD, step_decay


@dataclass
class Trainer:
    """Trains a network on resized slices.

    Parameters
    ----------
    net : Graph
        Its ``meta`` says how slices are scaled.
    optimizer : SGD
    train, validation : (greys, labels)
        (M, S, S) float32 and (M,) int, as `lightnet.data.load` gives them.
    batch_size : int
    rng : numpy.random.Generator
        Of the order of the samples.
    schedule : callable
        From the number of epochs done to the factor on the optimizer's initial learning rate: see `lightnet.optim.step_decay`.

    Attributes
    ----------
    history : list of dict
        One for each epoch: epoch, lr, loss, accuracy, validation_loss, validation_accuracy, seconds. ``loss`` and
        ``accuracy`` are means over the epoch, measured in training while the weights move on.

    Examples
    --------
    >>> import lightnet as ln
    >>> greys, labels = np.random.default_rng(0).random((8, 33, 33), np.float32), np.arange(8) % 2
    >>> net = ln.models.light_cnn(seed=0)
    >>> trainer = Trainer(net, ln.SGD(net, lr=0.01), (greys, labels), (greys, labels), batch_size=4)
    >>> trainer.fit(epochs=2, progress=False)
    >>> [row["epoch"] for row in trainer.history]
    [1, 2]
    """

    net: Graph
    optimizer: SGD
    train: tuple
    validation: tuple
    batch_size: int = 32
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    schedule: callable = step_decay(1.0)
    history: list = field(default_factory=list)

    def __post_init__(self):
        self.initial_lr = self.optimizer.lr

    def fit(self, epochs, progress=True, after_epoch=None):
        """Train until ``history`` has so many epochs, with a progress bar and a line for each.

        Parameters
        ----------
        epochs : int
            In all, those of an earlier ``fit`` or of a checkpoint among them.
        progress : bool
        after_epoch : callable, optional
            ``after_epoch(trainer)``, such as the writing of a checkpoint.

        Raises
        ------
        TrainingError
            Where the loss is no longer a number.
        """
        done, images = len(self.history), len(self.train[0])
        with tqdm(total=epochs * images, initial=done * images, unit=" images", disable=not progress, smoothing=0.05) as bar:
            for epoch in range(done + 1, epochs + 1):
                start = time.perf_counter()
                self.optimizer.lr = self.initial_lr * self.schedule(epoch - 1)
                loss, accuracy = self.epoch(bar)
                validation_loss, validation_accuracy = evaluate_loss(self.net, *self.validation, self.batch_size)
                self.expect_finite(validation_loss)
                self.history.append({
                    "epoch": epoch, "lr": self.optimizer.lr, "loss": loss, "accuracy": accuracy,
                    "validation_loss": validation_loss, "validation_accuracy": validation_accuracy,
                    "seconds": time.perf_counter() - start})
                if progress:
                    bar.write(f"epoch {epoch:2}/{epochs}   loss {loss:.3f}   accuracy {accuracy:.3f}   "
                              f"validation loss {validation_loss:.3f}   accuracy {validation_accuracy:.3f}")
                self.warn_at_chance()
                if after_epoch:
                    after_epoch(self)

    def warn_at_chance(self):
        """Say so where the loss was at ln 2 for two epochs: the network gives every image the same answer."""
        chance = np.log(2)
        if len(self.history) >= 2 and all(abs(row["loss"] - chance) < 1e-3 for row in self.history[-2:]):
            warnings.warn("the loss stays at ln 2 = 0.693, chance: the network gives every image the same answer. Try a smaller "
                          "learning rate, or another seed; a SqueezeNet whose last ReLU lets nothing through needs "
                          "head_relu=False", stacklevel=3)

    def epoch(self, bar):
        """Every training image once; returns the mean loss and accuracy."""
        greys, labels = self.train
        loss_sum = right = seen = 0
        for x, y in batches(greys, labels, self.batch_size, self.net.meta, self.rng):
            loss, logits = self.step(x, y)
            loss_sum += loss * len(y)
            right += int((logits.argmax(axis=1) == y).sum())
            seen += len(y)
            bar.set_postfix_str(f"loss {loss_sum / seen:.3f}, accuracy {right / seen:.3f}", refresh=False)
            bar.update(len(y))
        return loss_sum / seen, right / seen

    def step(self, x, y):
        """What training is: forward, loss, backward, update."""
        logits = self.net.forward(x, training=True)
        loss, dlogits = softmax_cross_entropy(logits, y)
        self.expect_finite(loss)
        self.net.backward(dlogits, to_image=False)
        self.optimizer.step()
        return loss, logits

    def expect_finite(self, loss):
        """Stop, with what to try, where the loss is no longer a number."""
        if not np.isfinite(loss):
            raise TrainingError(f"the loss is {loss} at a learning rate of {self.optimizer.lr:g}: training has diverged; try a "
                                "tenth of that rate, and look for NaN or unscaled values in the images")


def evaluate_loss(net, greys, labels, batch_size=32):
    """Mean loss and accuracy on a set, at inference."""
    logits = predict_logits(net, greys, batch_size)
    return softmax_cross_entropy(logits, labels)[0], float((logits.argmax(axis=1) == labels).mean())
