"""How the elements of an array, or of a product, are shared out among workers, and among registers."""

from ._compile import kernel
from ._simd import TILE_ROWS, TILE_VECTORS, load, load_n, store, store_n


@kernel
def share(n, worker, n_workers, grain):
    """Return the first of the `n` elements that belong to `worker`.

    Worker `w` takes the elements from `share(n, w, ...)` up to, not including, `share(n, w + 1, ...)`. The
    workers together take each element once; their parts differ by at most one block of `grain` elements::

        share = min(n, grain * floor(ceil(n / grain) * worker / n_workers))

    Parameters
    ----------
    n : int64
        Number of elements, not negative.
    worker : int64
        From 0 to `n_workers`; the latter gives `n`.
    n_workers : int64
        Number of parts, at least 1.
    grain : int64
        Every part but the last holds a multiple of this many elements, so that only one part has a tail.
    """
    blocks = (n + grain - 1) // grain
    return min(n, blocks * worker // n_workers * grain)


@kernel
def get(a, at, n, whole):
    """Load a whole register, or the first `n` lanes of one (masks cost a fifth more, so only tails have them)."""
    return load(a, at) if whole else load_n(a, at, n)


@kernel
def put(a, at, v, n, whole):
    """Store a whole register, or the first `n` lanes of one."""
    if whole:
        store(a, at, v)
    else:
        store_n(a, at, v, n)


@kernel
def parts(row_tiles, vectors, extra, worker, n_workers):
    """Return (first tile, last tile, first vector, last vector, row of parts): a worker's rectangle of the output.

    The output is `row_tiles` × `vectors`; of all ways to cut it into rows × columns = `n_workers` the one whose
    largest rectangle costs least is taken, more columns where equal (a worker then meets its own weights again);
    a rectangle narrower than a tile costs as much as one. `extra` is what a column costs beside its tiles, in tiles.
    Parts of the same columns follow each other.
    """
    best, groups = -1, 1
    for columns in range(1, n_workers + 1):
        if n_workers % columns == 0:
            rows = n_workers // columns
            wide = max(TILE_VECTORS, (vectors + columns - 1) // columns)
            # A lone register or two beside whole tiles take longer than their number.
            wide += 1 if 0 < wide % TILE_VECTORS < 3 else 0
            cost = ((row_tiles + rows - 1) // rows + extra) * wide
            if best < 0 or cost <= best:
                best, groups = cost, columns
    rows = n_workers // groups
    i, j = worker % rows, worker // rows
    v0, v1 = vectors * j // groups, vectors * (j + 1) // groups
    return row_tiles * i // rows, row_tiles * (i + 1) // rows, v0, v1, i


@kernel
def column(j, width, apart):
    """Return where column `j` of values in rows lies, or, if `apart` is not 0, in panels so far apart."""
    return j if apart == 0 else j // width * apart + j % width


@kernel
def panel_parts(row_tiles, panels, by_columns, worker, n_workers):
    """Return (first tile, last tile, first panel, last panel): as `parts`, of whole panels.

    Where columns alone are cut, worker `w` has the panels of `share(panels, w, n_workers, 1)`. `by_columns` asks for
    that, if there is a panel for each.
    """
    if by_columns and panels >= n_workers:
        return 0, row_tiles, share(panels, worker, n_workers, 1), share(panels, worker + 1, n_workers, 1)
    best, groups = -1, 1
    for columns in range(1, n_workers + 1):
        if n_workers % columns == 0:
            rows = n_workers // columns
            cost = (row_tiles + rows - 1) // rows * ((panels + columns - 1) // columns)
            if best < 0 or cost <= best:
                best, groups = cost, columns
    rows = n_workers // groups
    i, j = worker % rows, worker // rows
    return row_tiles * i // rows, row_tiles * (i + 1) // rows, panels * j // groups, panels * (j + 1) // groups


@kernel
def rows_or_columns(k, n, unit, in_panels, worker, n_workers):
    """Return (first column, last column, first row, last row): a worker's part of a (k, n) gradient.

    By rows, which follow each other: of columns, a core's prefetcher takes those that another core writes. In panels
    by columns, in units of `unit`. Or the other way where parts are far from equal with that one (28 × 300 with 1024
    rows, two workers: by rows 155 µs, by columns 120).
    """
    tiles, units = (k + TILE_ROWS - 1) // TILE_ROWS, (n + unit - 1) // unit
    by_rows = (tiles + n_workers - 1) // n_workers * units
    by_columns = tiles * ((units + n_workers - 1) // n_workers)
    if (4 * by_columns <= 5 * by_rows) if in_panels else (5 * by_columns < 4 * by_rows):
        return share(n, worker, n_workers, unit), share(n, worker + 1, n_workers, unit), 0, k
    return 0, n, tiles * worker // n_workers * TILE_ROWS, min(k, tiles * (worker + 1) // n_workers * TILE_ROWS)
