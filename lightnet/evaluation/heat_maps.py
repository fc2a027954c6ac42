"""Pictures of class activation maps over the slices that they are of."""

import numpy as np

from ..data.prepare import CLASSES
from .cam import enlarged
from .plots import FAINT, drawing, shortened


def heat_maps(greys, names, networks, path, title, footer="not for clinical use", limit=None):
    """Draw slices, and beside each its maps for both classes, all on one scale.

    Parameters
    ----------
    greys : ndarray (N, S, S)
        0 black to 1 white; a row of the picture each.
    names : sequence of N str
        Written beside the slices.
    networks : dict of str to (ndarray (N, h, w, classes), ndarray (N,))
        By what a network is called: its maps, and p_covid; two columns of the picture each.
    path : str or path
        The PNG file to write.
    title, footer : str
        The lines above and below.
    limit : float, optional
        The scale's end, for pictures that are to be compared; by default the largest absolute value here.
    """
    limit = limit or max(np.abs(maps).max() for maps, _ in networks.values()) or 1.0
    N, size, columns = len(greys), greys.shape[-1], 1 + 2 * len(networks)
    with drawing(path, 1.6 + 2.1 * columns, 1.3 + 2.2 * N, **{"axes.grid": False, "axes.spines.left": False,
                                                            "axes.spines.bottom": False}) as figure:
        grid = figure.subplots(N, columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []})
        for n, grey in enumerate(greys):
            for axes in grid[n]:
                axes.imshow(grey, cmap="gray", vmin=0, vmax=1)
            grid[n, 0].set_ylabel(shortened(names[n]), fontsize=8)
            panels = iter(grid[n, 1:])
            for name, (maps, scores) in networks.items():
                for c, says in ((1, f"p = {scores[n]:.3f}"), (0, "")):
                    axes = next(panels)
                    shown = axes.imshow(enlarged(maps[n, ..., c], size), cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.55)
                    axes.set_title(f"{name} for {CLASSES[c]}\n{says}" if n == 0 else says, fontsize=9, fontweight="normal", pad=4,
                                   loc="center")
        bar = figure.colorbar(shown, ax=grid, shrink=min(1, 2.5 / N), aspect=25)
        bar.set_label("for the class (+), against it (−)", fontsize=8)
        figure.suptitle(title, fontsize=13, fontweight="bold")
        figure.supxlabel(f"p: probability of COVID. A map's mean, plus a bias, is the class's logit   ·   {footer}", fontsize=8,
                         color=FAINT)
