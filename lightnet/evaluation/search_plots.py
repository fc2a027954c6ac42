"""The pictures of a search: how the best accuracy grew, and what the surrogate makes of the space."""

from matplotlib.ticker import PercentFormatter

from .plots import DASHED, INK, TRAINING, VALIDATION, drawing

NAMES = {"lr": "learning rate", "momentum": "momentum", "l2": "L2"}


def convergence(attempts, path):
    """Draw every attempt's validation accuracy, and the best so far.

    Parameters
    ----------
    attempts : list of dict
        The journal's, in order: ``number``, ``accuracy``, ``diverged``.
    path : str or path
        The PNG file to write.
    """
    best, highest = [], 0.0
    for one in attempts:
        highest = max(highest, one["accuracy"])
        best.append(highest)
    numbers = [one["number"] + 1 for one in attempts]
    with drawing(path, 7, 4.2) as figure:
        axes = figure.subplots()
        axes.step(numbers, best, where="post", color=VALIDATION, label="best so far")
        for diverged, marker, label in ((False, "o", "attempt"), (True, "x", "attempt that diverged")):
            of_kind = [(n, one["accuracy"]) for n, one in zip(numbers, attempts) if one["diverged"] == diverged]
            if of_kind:
                axes.plot(*zip(*of_kind), marker, color=TRAINING, label=label)
        axes.set(title="The search", xlabel="attempt", ylabel="validation accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        figure.legend(loc="outside lower center", ncols=3)


def surrogate(lines, plane, attempts, best, path):
    """Draw the surrogate on three lines through the best attempt, and on the plane of rate and momentum.

    Parameters
    ----------
    lines, plane
        As `lightnet.training.search.Search.surrogate` gives them.
    attempts : list of dict
        The journal's.
    best : dict
        One of them.
    path : str or path
        The PNG file to write.
    """
    with drawing(path, 10.5, 8, **{"text.parse_math": True}) as figure:          # for the powers of ten
        grid = figure.subplots(2, 2).ravel()
        for axes, (name, (values, mean, deviation)) in zip(grid, lines.items()):
            axes.fill_between(values, mean - deviation, mean + deviation, color=VALIDATION, alpha=0.2, linewidth=0,
                              label="± one deviation")
            axes.plot(values, mean, color=VALIDATION, label="surrogate's mean")
            axes.plot([one[name] for one in attempts], [one["accuracy"] for one in attempts], "o", color=TRAINING, markersize=4,
                      label="attempts")
            axes.axvline(best[name], color=INK, **DASHED)
            axes.set(title=NAMES[name], ylabel="validation accuracy", xscale="linear" if name == "momentum" else "log")
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        rates, momenta, mean = plane
        axes = grid[3]
        shown = axes.contourf(rates, momenta, mean, levels=12, cmap="cividis")
        axes.plot([one["lr"] for one in attempts], [one["momentum"] for one in attempts], "o", color="white", markersize=4,
                  markeredgecolor=INK)
        axes.plot(best["lr"], best["momentum"], "*", color="white", markersize=14, markeredgecolor=INK)
        axes.set(title="learning rate and momentum", xscale="log", xlabel=NAMES["lr"], ylabel=NAMES["momentum"])
        axes.grid(False)
        figure.colorbar(shown, ax=axes, format=PercentFormatter(1))
        figure.suptitle("The surrogate, on lines and a plane through the best attempt (dashed, starred)", fontsize=13)
