"""The pictures of a run: learning curves, confusion matrix, ROC curve, right and wrong slices.

Every function writes one PNG file, whole or not at all, and creates its folder where that is missing. Figures are drawn
without pyplot, so nothing of a user's own plotting is touched and no display is needed.
"""

import math
from contextlib import contextmanager

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..errors import DatasetError, ShapeError
from ..files import whole
from .calibration import reliability
from .metrics import CLASS_NAMES, THRESHOLD, checked, roc_curve, units

# Okabe & Ito's palette, told apart under every common colour blindness. One colour means one thing in all pictures.
CLASS_COLOURS = ("#0072B2", "#D55E00")  # blue: non-COVID, vermilion: COVID
TRAINING, VALIDATION = "#8C8C8C", "#009E73"
INK, FAINT = "#222222", "#6E6E6E"
DASHED = {"linewidth": 1, "linestyle": (0, (4, 3))}

STYLE = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same picture on every machine
    "text.parse_math": False,  # a file name may hold dollar signs
    "text.usetex": False,
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "savefig.dpi": 130,
}

# The rows of the sheet of slices: truth, prediction, heading.
_SHEET_ROWS = (
    (1, 1, "COVID,\nrecognized"),
    (0, 0, "non-COVID,\nrecognized"),
    (1, 0, "COVID,\nmissed"),
    (0, 1, "non-COVID,\nfalse alarm"),
)


def training_curves(history, path):
    """Draw loss and accuracy over the epochs, with the loss of a guess, ln 2, marked.

    Parameters
    ----------
    history : list of dict
        One per epoch, with ``epoch``, ``loss``, ``accuracy`` (a fraction in 0..1) and, where there is a validation set,
        ``validation_loss`` and ``validation_accuracy``. ``None`` or ``nan`` leaves a gap; other keys are ignored.
    path : str or path
        The PNG file to write.

    Raises
    ------
    DatasetError
        `history` is empty.

    Examples
    --------
    >>> import os, tempfile
    >>> epoch = {"epoch": 1, "loss": 0.6, "accuracy": 0.7, "validation_loss": 0.65, "validation_accuracy": 0.62}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     training_curves([epoch], os.path.join(folder, "curves.png"))
    ...     print(os.listdir(folder))
    ['curves.png']
    """
    if not history:
        raise DatasetError("history is empty, expected one dict per epoch")
    chance = math.log(2)
    with drawing(path, 9.5, 3.9) as figure:
        loss, accuracy = figure.subplots(1, 2)
        highest = _curves(loss, history, "loss")[1]
        loss.set(title="Loss", ylabel="cross-entropy", ylim=(0, 1.08 * max(highest, chance)))
        loss.axhline(chance, color=INK, **DASHED)
        loss.text(1.02, chance, "ln 2:\nchance", va="center", fontsize=9, transform=loss.get_yaxis_transform())

        lowest = _curves(accuracy, history, "accuracy")[0]
        accuracy.set(title="Accuracy", ylim=(min(0.45, lowest - 0.03), 1))
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        if accuracy.lines:
            accuracy.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)  # above: hides no curve


def confusion_matrix(metrics, path):
    """Draw the four counts, each with its share of the true class, and the two rates with their intervals.

    Parameters
    ----------
    metrics : Metrics
        As `metrics.evaluate` returns them.
    path : str or path
        The PNG file to write.
    """
    totals = metrics.confusion.sum(axis=1, keepdims=True)
    shares = np.divide(metrics.confusion, totals, out=np.zeros((2, 2)), where=totals > 0)
    with drawing(path, 5.8, 5.2) as figure:
        axes = figure.subplots()
        colours = np.array([to_rgb(colour) for colour in CLASS_COLOURS])[:, None]  # (2, 1, 3): a row is a true class
        strength = 0.06 + 0.66 * shares[..., None]  # never white nor the full colour: the text stays legible
        axes.imshow(1 - strength * (1 - colours), aspect="auto")
        for (row, column), count in np.ndenumerate(metrics.confusion):
            name, total = CLASS_NAMES[row], totals[row, 0]
            share = f"{100 * shares[row, column]:.0f} % of {name}" if total else f"no {name} slices"
            axes.text(column, row - 0.06, count, ha="center", va="center", fontsize=24, fontweight="bold")
            axes.text(column, row + 0.2, share, ha="center", va="center")
        axes.set_xticks((0, 1), CLASS_NAMES)
        axes.set_yticks((0, 1), CLASS_NAMES, rotation=90, va="center")
        axes.set(title="Confusion matrix", ylabel="truth", xlabel=f"prediction: COVID where p ≥ {THRESHOLD}")
        axes.tick_params(length=0, labelsize=11)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.axhline(0.5, color="white", linewidth=4)
        axes.axvline(0.5, color="white", linewidth=4)
        rates = f"sensitivity {metrics.sensitivity}     specificity {metrics.specificity}"
        figure.supxlabel(rates + "\n" + _interval_note(metrics), fontsize=9)


def roc(labels, scores, metrics, path):
    """Draw the ROC curve, its AUC with the interval, and the operating point p >= 0.5.

    Parameters
    ----------
    labels, scores : array_like (N,)
        As in `metrics.evaluate`, which also says what is raised.
    metrics : Metrics
        What `evaluate` returned for them.
    path : str or path
        The PNG file to write. With one class only there is no curve, and the picture says so.
    """
    false_positive_rate, true_positive_rate = roc_curve(labels, scores)
    with drawing(path, 5.4, 5.8) as figure:
        axes = figure.subplots()
        if math.isnan(metrics.auc.value):
            axes.text(0.5, 0.85, "undefined: one class only", ha="center", fontsize=12)
        else:
            label = f"AUC {metrics.auc}"
            axes.plot(false_positive_rate, true_positive_rate, color=VALIDATION, label=label, clip_on=False)
            at = (1 - metrics.specificity.value, metrics.sensitivity.value)
            label = f"COVID where p ≥ {THRESHOLD}"
            axes.plot(*at, "o", color=INK, markersize=8, label=label, clip_on=False, zorder=3)
        axes.plot((0, 1), (0, 1), color=FAINT, label="chance: AUC 0.5", **DASHED)
        axes.set(title="ROC curve", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set(xlabel="false positive rate (1 − specificity)", ylabel="true positive rate (sensitivity)")
        axes.legend(loc="lower right")
        figure.supxlabel(_interval_note(metrics), fontsize=9)


def calibration(labels, scores, path, bins=10):
    """Draw how often slices given a probability of COVID are COVID: on the diagonal, p means what it says.

    Parameters
    ----------
    labels : (N,) array of 0 and 1
    scores : (N,) array in 0..1
        p_covid.
    path : str or path
        The PNG file to write.
    bins : int
        Equal steps of p; the number of slices stands beside each point, empty steps are left out.

    Raises
    ------
    DatasetError, ShapeError
        As `metrics.evaluate`.

    References
    ----------
    DeGroot & Fienberg 1983, "The comparison and evaluation of forecasters" (reliability diagram).
    """
    said, seen, counts = reliability(labels, scores, bins)
    with drawing(path, 5.2, 5.2) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, label="p means what it says", **DASHED)
        axes.plot(said, seen, color=VALIDATION, marker="o", clip_on=False, label="this network")
        for x, y, count in zip(said, seen, counts):
            above = y < 0.93
            axes.annotate(str(count), (x, y), (0, 8 if above else -8), textcoords="offset points",
                          ha="center", va="bottom" if above else "top", fontsize=8, color=FAINT)
        axes.set(title="Calibration", xlabel="p, probability of COVID that the network gives", ylabel="share that is COVID",
                 xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.legend(loc="upper left", bbox_to_anchor=(0.02, 0.93))
        figure.supxlabel(f"{len(labels)} images; beside each point how many", fontsize=9)


def slice_sheet(greys, labels, scores, names, path, title, footer="not for clinical use", columns=6):
    """Draw right and wrong slices: both classes recognized, COVID missed, false alarms; the most confident first.

    Parameters
    ----------
    greys : array_like (N, S, S)
        The slices, 0 black to 1 white.
    labels, scores : array_like (N,)
        As in `metrics.evaluate`.
    names : sequence of N str
        File names; long ones are shortened in the middle.
    path : str or path
        The PNG file to write.
    title, footer : str
        The lines above and below.
    columns : int
        The most slices in a row.

    Raises
    ------
    ShapeError
        `greys`, `labels`, `scores` and `names` are not of one length, or `greys` is not three-dimensional.
    DatasetError
        As in `metrics.evaluate`.
    """
    labels, scores = checked(labels, scores)
    greys = np.asarray(greys)
    if greys.ndim != 3 or not len(greys) == len(labels) == len(names):
        found = f"greys {greys.shape}, {len(labels)} labels, {len(names)} names"
        raise ShapeError(f"{found}: expected greys (N, S, S) and N of the others")
    most_confident_first = np.argsort(-np.abs(scores - THRESHOLD), kind="stable")
    cell = 2 * labels + (scores >= THRESHOLD)
    rows = [most_confident_first[cell[most_confident_first] == 2 * row[0] + row[1]] for row in _SHEET_ROWS]
    heights = [1.95 if len(row) else 0.8 for row in rows]  # inches
    with drawing(path, 1.5 + 1.55 * columns, sum(heights) + 0.8) as figure:
        grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
        for axes_row, row, (truth, _, heading) in zip(grid, rows, _SHEET_ROWS, strict=True):
            _clear_row(axes_row, heading, CLASS_COLOURS[truth], len(row))
            for axes, i in zip(axes_row, row, strict=False):
                axes.imshow(greys[i], cmap="gray", vmin=0, vmax=1)
                caption = f"p = {scores[i]:.3f}\n{shortened(names[i])}"
                axes.set_title(caption, fontsize=8, fontweight="normal", loc="center", pad=4)
        figure.suptitle(title, fontsize=14, fontweight="bold")
        figure.supxlabel(f"p: probability of COVID   ·   {footer}", fontsize=9, color=FAINT)


@contextmanager
def drawing(path, width, height, **style):
    """Give an empty figure in lightnet's style; write it to a PNG file when the block ends.

    Parameters
    ----------
    path : str or path
        The file, written whole or not at all; its folder is made.
    width, height : float
        In inches.
    style : optional
        Matplotlib settings that differ from `STYLE`.
    """
    with rc_context({**STYLE, **style}):
        figure = Figure((width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with whole(path, "wb") as file:
            figure.savefig(file, format="png", metadata={"Software": None})  # no version: same picture, same bytes


def _curves(axes, history, key):
    """Draw training's and validation's `key` over the epochs; return the lowest and the highest value drawn."""
    epochs = [record["epoch"] for record in history]
    finite = []
    for prefix, label, colour in (("", "training", TRAINING), ("validation_", "validation", VALIDATION)):
        values = np.array([record.get(prefix + key) for record in history], dtype=float)  # None becomes nan
        if np.isfinite(values).any():
            axes.plot(epochs, values, color=colour, label=label, marker="o" if len(history) <= 30 else "", markersize=4)
            finite.extend(values[np.isfinite(values)])
    axes.set(xlabel="epoch", xlim=(min(epochs) - 0.5, max(epochs) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=(1, 2, 5, 10), min_n_ticks=1))
    return min(finite, default=0), max(finite, default=0)


def _clear_row(axes_row, heading, colour, count):
    """Empty a row of the sheet and write its heading and count at its left."""
    for axes in axes_row:
        axes.axis("off")
    first, shown = axes_row[0], len(axes_row)
    at = {"ha": "right", "transform": first.transAxes}
    first.text(-0.12, 0.52, heading, color=colour, fontsize=11, fontweight="bold", va="bottom", **at)
    first.text(-0.12, 0.46, f"{min(count, shown)} of {count}" if count else "none", color=FAINT, va="top", **at)


def _interval_note(metrics):
    if math.isnan(metrics.accuracy.low):
        return f"{metrics.n} images, no intervals"
    return f"{metrics.n} images; [95 % intervals] over {units(metrics.to_dict())}"


def shortened(name, most=20):
    """Shorten a file name in the middle, where it says least; what the font cannot show becomes a question mark."""
    name = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in str(name))
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"
