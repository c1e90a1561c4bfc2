"""Rows of a batch that one worker carries through all layers and back, without meeting the others on the way."""

from ._compile import kernel
from ._simd import TILE_ROWS, TILE_VECTORS, lanes
from .gemm import NARROW
from .network import APART, DENSE, KIND, N_IN, N_OUT, PANELS, ROW_WORDS
from .split import panel_parts, parts

_LEAST_ROWS = 128
"""Fewest rows for each worker: shares are whole blocks of 16 rows, and are to be about equal."""


@kernel
def cut_by_rows(tiles, columns, in_panels, extra, n_workers, step):
    """Tell whether a product is shared out by rows alone; see `split.parts` and `split.panel_parts`."""
    if in_panels != 0:
        width = TILE_VECTORS * step
        panels = (columns + width - 1) // width
        _, _, p0, p1 = panel_parts(tiles, panels, False, 0, n_workers)
        return p1 - p0 == panels
    unit = columns if columns <= NARROW else step
    vectors = (columns + unit - 1) // unit
    _, _, v0, v1, _ = parts(tiles, vectors, extra, 0, n_workers)
    return v1 - v0 == vectors


@kernel
def carries_rows(plan, m, n_workers, params):
    """Tell whether each worker is to take its rows of a batch forward through all layers, and back to the first.

    That is where all products are cut by rows in any case. Workers then meet once before the gradients instead of twice
    a layer, so that a core that others keep busy now and then holds up the rest less often, and finds what it wrote in
    its own cache (two workers on Ice Lake: 64-300-300-10 with 256 rows 1.12 and with 512 rows 1.06 to 1.08,
    28-300-300-300-2 with 512 rows 1.06 and with 1024 rows 1.02 to 1.04; from some 1000 rows a worker on level; where
    columns are shared out, each worker would read all weights: 784-512-512-10 with 128 rows 0.91).
    """
    if n_workers == 1 or m < _LEAST_ROWS * n_workers:
        return False
    tiles, step = (m + TILE_ROWS - 1) // TILE_ROWS, lanes(params)
    for o in range(plan.shape[0]):
        if plan[o, KIND] == DENSE:
            # What is noted of zeros is noted tile by tile, and columns that are panels have owners.
            if plan[o, ROW_WORDS] != 0 or plan[o, APART] != 0:
                return False
            if not cut_by_rows(tiles, plan[o, N_OUT], plan[o, PANELS], 1, n_workers, step):
                return False
            before = plan[o - 1, PANELS] if o > 0 else 0
            if o > 0 and not cut_by_rows(tiles, plan[o, N_IN], before, 2, n_workers, step):
                return False
    return True
