"""Dense layers as products: forward, gradient of the weights, gradient of the inputs.

Every element of every product is one chain of fused multiply-adds in increasing index of what is summed over, begun
at the bias or at zero. Which tile, panel, thread or build computes it cannot be seen in its bits.

The operand that is read in vectors is read where it lies, unless its rows are so far apart that they fall into the
same few cache sets (a multiple of 4 KiB; on Zen 4 162 GFLOP/s against 220 with the copy at 1024 columns, 226 against
221 at 512), or processor and number of rows make it pay: then a panel of it is copied first. The transposed operand of
the inputs' gradient is always copied, turned.
"""

import numpy as np
from numba import prange

from ._compile import inlined, kernel, outlined, primitive
from ._simd import (
    FROM_OUTPUT,
    FROM_VECTOR,
    KEEP,
    NARROW,
    SHORT_ROWS,
    STEPS_AT_ONCE,
    TALL_ROWS,
    TILE_ROWS,
    TILE_VECTORS,
    WHERE_POSITIVE,
    ZERO,
    as_before,
    flush_tiny,
    fma,
    lanes,
    load_n,
    select,
    splat,
    store_n,
    tile,
    transpose,
)
from ._simd import (
    RELU as _RELU,
)
from ._simd_few import FEW_OUTPUTS
from ._simd_gradient import WHOLE_TILES, whole_tiles
from ._simd_shallow import BY_ROWS, shallow_inputs
from .copies import (
    BLOCK_ROWS,
    COPY_PANELS,
    copies_pay,
    copy_panels,
    far_apart,
    pack_rows,
    packing_pays,
    piece_room,
    pieces,
)
from .few import ONE_PIECE, few_out
from .math import vsigmoid, vtanh
from .row import ROW_VECTORS, one_row
from .split import column, panel_parts, parts

LINEAR, RELU, SIGMOID, TANH = 0, 1, 2, 3
MOST_TURNED = 16
"""Most outputs of a layer whose gradient is computed turned (100 × 10, 200 rows, registers of eight: 17 -> 13 µs)."""
_PAD = 16


def scratch_size(k, n, dtype, n_workers=1):
    """Return the length of the scratch array that products of depths `k` and `n` need.

    Parameters
    ----------
    k, n : int
        The two feature counts of the layer (for `dense_backward_weights` also the batch: pass the larger).
    dtype : dtype
        float32 or float64.
    n_workers : int
        Workers that share the product; each has a part of its own.

    Returns
    -------
    int
        Elements of `dtype`.
    """
    return n_workers * worker_scratch(max(k, n), np.dtype(dtype).itemsize)


def worker_scratch(depth, size):
    """Return one worker's share of scratch, in elements of `size` bytes, for a reduction over `depth` steps."""
    from ._simd import VECTOR_BYTES

    panels = COPY_PANELS * (depth + 2 * _PAD + 64) * TILE_VECTORS * (VECTOR_BYTES // size)
    return panels + piece_room(depth, size)


@primitive("piipipiiiiipippppiiipii")
def panel_asking(
    a, a_row, a_step, b, b_step, c, c_row, m, steps, columns, start, start_vector, finish, sign,
    ask, s1, s2, ask_row, ask_rows, ask_step, words, per_tile, height,
):  # fmt: skip
    """Run the register tile, `height` rows high, down `m` rows of one panel of columns; arguments as `_simd.tile`.

    What a tile asks for lies `ask_step` behind what the one before asked for. If `per_tile` is not 0, tiles of all
    `height` rows take only the steps whose bits are set in `words`, `per_tile` elements for each tile (see `zeros`).
    If it is 0, tiles of a narrow panel are higher, see TALL_ROWS; they ask for nothing. Called with an offset behind
    each array.
    """
    tall = TALL_ROWS[(columns + lanes(c) - 1) // lanes(c)] if per_tile == 0 else height
    # Counted by hand: of a range with steps, or of quotients, a tile would take two divisions.
    number, r = 0, 0
    while r < m:
        rows = tall if m - r >= tall else min(height, m - r)
        tile(
            a, r * a_row, a_row, a_step, b, 0, b_step, c, r * c_row, c_row, steps,
            rows, columns, start, start_vector, 0, finish, sign, r * c_row,
            ask, number * ask_step, s1, s2, ask_row, ask_rows,
            per_tile if m - r >= height else 0, words, number * per_tile,
        )  # fmt: skip
        number += 1
        r += rows


@primitive("pipipiiiipppiii")
def tiles_asking(a, a_step, b, b_step, c, c_row, tiles, steps, start, p, s1, s2, p_row, p_rows, p_step):
    """`_simd_gradient.whole_tiles` behind a symbol, with an offset behind each array."""
    whole_tiles(a, a_step, b, b_step, c, c_row, tiles, steps, start, p, s1, s2, p_row, p_rows, p_step)


@primitive("iiipipipiip")
def inputs_by_rows(n, m, k, dz, dz_row, wt, wt_row, dx, row, finish, sign):
    """`_simd_shallow.shallow_inputs` behind a symbol, with an offset behind each array."""
    shallow_inputs(n, m, k, dz, dz_row, wt, wt_row, dx, row, finish, sign)


@inlined
def panel(
    a, a_at, a_row, a_step, b, b_at, b_step, c, c_at, c_row, m, steps, columns, start, start_vector, start_at,
    finish, sign, sign_at, words, words_at, per_tile,
):  # fmt: skip
    """Run the register tile down a panel, and ask for nothing."""
    panel_asking(
        a, a_at, a_row, a_step, b, b_at, b_step, c, c_at, c_row, m, steps, columns, start, start_vector, start_at,
        finish, sign, sign_at, c, c_at, c, c_at, c, c_at, 0, 0, 0, words, words_at, per_tile, TILE_ROWS,
    )  # fmt: skip


@kernel
def panel_fetching(
    a, a_at, a_row, a_step, b, b_at, b_step, c, c_at, c_row, m, steps, columns, start, start_vector, start_at,
    finish, sign, sign_at, w, w_at, w_row, w_rows, words, words_at, per_tile,
):  # fmt: skip
    """Run the register tile down a panel, and ask for the `w_rows` rows at `w[w_at]` that are to be copied next.

    Read where they lie, far from each other or from the last level, they would cost a twentieth of the product.
    """
    tiles = max(1, m // TILE_ROWS)
    rows = (w_rows + tiles - 1) // tiles
    panel_asking(
        a, a_at, a_row, a_step, b, b_at, b_step, c, c_at, c_row, m, steps, columns, start, start_vector, start_at,
        finish, sign, sign_at, w, w_at, w, w_at, w, w_at, w_row, -rows, rows * w_row,
        words, words_at, per_tile, TILE_ROWS,
    )  # fmt: skip


@kernel
def activate_block(y, at, ld, rows, columns, activation):
    """Apply an activation in place to a block of `rows` × `columns` values `ld` apart."""
    if activation == LINEAR:
        return
    step, zero = lanes(y), splat(y, 0.0)
    for r in range(rows):
        row = at + r * ld
        for j in range(0, columns, step):
            left = min(step, columns - j)
            v = load_n(y, row + j, left)
            if activation == RELU:
                v = select(v < zero, zero, v)
            elif activation == SIGMOID:
                v = vsigmoid(v)
            else:
                v = vtanh(v)
            store_n(y, row + j, v, left)


@kernel
def derive_block(dy, y, at, y_at, ld, rows, columns, activation):
    """Multiply `dy` in place by an activation's derivative, taken from its output `y`: `rows` × `columns` values."""
    if activation == LINEAR:
        return
    step, one, zero = lanes(y), splat(y, 1.0), splat(y, 0.0)
    for r in range(rows):
        for j in range(0, columns, step):
            left = min(step, columns - j)
            v = load_n(y, y_at + r * ld + j, left)
            d = load_n(dy, at + r * ld + j, left)
            if activation == RELU:
                d = select(v > zero, d, zero)
            elif activation == SIGMOID:
                d = d * (one - v) * v
            else:
                d = d * (one - v * v)
            store_n(dy, at + r * ld + j, d, left)


@kernel
def narrow_product(x, x_at, x_ld, w, w_at, w_row, w_step, b, b_at, y, y_at, y_ld, rows, k, n, biased, scratch, s_at):
    """Compute `y[i, j] = b[j] + sum_s x[i, s] w[j w_row + s w_step]` for few `j`, lanes along the rows of `x`."""
    few_out(
        n, rows, k, x, x_at, x_ld, ONE_PIECE, 0, w, w_at, w_row, w_step, b, b_at, biased, scratch, s_at, n
    )  # fmt: skip
    for i in range(rows):
        for j in range(0, n, lanes(y)):
            store_n(y, y_at + i * y_ld + j, load_n(scratch, s_at + i * n + j, n - j), n - j)


@outlined
def forward_panels(
    x, x_at, x_ld, w, w_at, b, b_at, y, y_at, y_ld, apart, m, k, n, activation, words, words_at, per_tile,
    worker, n_workers,
):  # fmt: skip
    """Compute a worker's part of `forward_part` where `w` lies as `panels.rearrange` lays it out.

    So does `y`, its panels `apart` elements apart, if that is not 0.
    """
    width = TILE_VECTORS * lanes(y)
    finish = _RELU if activation == RELU else KEEP
    tiles, panels = (m + TILE_ROWS - 1) // TILE_ROWS, (n + width - 1) // width
    t0, t1, p0, p1 = panel_parts(tiles, panels, apart != 0, worker, n_workers)
    r0, r1 = t0 * TILE_ROWS, min(m, t1 * TILE_ROWS)
    for j in range(p0 * width, min(n, p1 * width), width):
        columns = min(width, n - j)
        at = y_at + r0 * y_ld + column(j, width, apart)
        panel(
            x, x_at + r0 * x_ld, x_ld, 1, w, w_at + j * k, columns, y, at, y_ld, r1 - r0, k, columns,
            FROM_VECTOR, b, b_at + j, finish, y, 0, words, words_at + t0 * per_tile, per_tile,
        )  # fmt: skip
        if activation >= SIGMOID:
            activate_block(y, at, y_ld, r1 - r0, columns, activation)


@outlined
def forward_part(
    x, x_at, x_ld, apart, w, w_at, b, b_at, y, y_at, y_ld, m, k, n, activation, words, words_at, per_tile,
    scratch, s_at, worker, n_workers,
):  # fmt: skip
    """Compute a worker's part of `y = act(x @ w + b)`; rows of `x` and `y` are `x_ld` and `y_ld` apart.

    `apart`, if not 0, says how far apart the panels of `x` lie, for `n` above NARROW that `few_columns` holds for.
    """
    step = lanes(y)
    width = TILE_VECTORS * step
    # Few columns are taken all at once: no part is of some of them, also where they fill more than one register.
    unit = n if n <= NARROW else step
    t0, t1, v0, v1, _ = parts((m + TILE_ROWS - 1) // TILE_ROWS, (n + unit - 1) // unit, 1, worker, n_workers)
    r0, r1 = t0 * TILE_ROWS, min(m, t1 * TILE_ROWS)
    if r1 <= r0:
        return
    packs = copies_pay(w, n, r1 - r0, n)
    if n <= NARROW and r1 - r0 >= step:
        if v1 > v0:
            narrow_product(
                x, x_at + r0 * x_ld, x_ld, w, w_at, 1, n, b, b_at, y, y_at + r0 * y_ld, y_ld, r1 - r0, k, n, 1,
                scratch, s_at,
            )  # fmt: skip
            activate_block(y, y_at + r0 * y_ld, y_ld, r1 - r0, n, activation)
        return
    if n <= FEW_OUTPUTS and r1 - r0 >= step and v1 - v0 == (n + unit - 1) // unit and per_tile == 0:
        few_out(
            n, r1 - r0, k, x, x_at + r0 * x_ld, x_ld, width if apart != 0 else ONE_PIECE, apart, w, w_at, 1, n,
            b, b_at, 1, y, y_at + r0 * y_ld, y_ld,
        )  # fmt: skip
        activate_block(y, y_at + r0 * y_ld, y_ld, r1 - r0, n, activation)
        return
    finish = _RELU if activation == RELU else KEEP
    begin, end = v0 * unit, min(n, v1 * unit)
    if r1 - r0 == 1 and apart == 0:
        whole = (end - begin) // (ROW_VECTORS * step) * ROW_VECTORS * step
        y_row = y_at + r0 * y_ld
        one_row(x, x_at + r0 * x_ld, k, w, w_at + begin, n, b, b_at + begin, y, y_row + begin, whole)
        activate_block(y, y_row + begin, y_ld, 1, whole, activation)
        begin += whole
    span, copied = COPY_PANELS * width, 0
    for j in range(begin, end, width):
        columns = min(width, end - j)
        if packs:
            place = s_at + copied * k
            if copied == 0:
                copy_panels(w, w_at + j, n, k, min(span, end - j), scratch, s_at)
            copied = copied + width if copied + width < span else 0
            panel_fetching(
                x, x_at + r0 * x_ld, x_ld, 1, scratch, place, width, y, y_at + r0 * y_ld + j, y_ld,
                r1 - r0, k, columns, FROM_VECTOR, b, b_at + j, finish, y, 0,
                w, w_at + j + width, n, k if COPY_PANELS == 1 and j + width < end else 0,
                words, words_at + t0 * per_tile, per_tile,
            )  # fmt: skip
        else:
            # Without inputs there are biases still.
            depth = max(1, k) if apart == 0 else width
            for s in range(0, max(1, k), depth):
                panel(
                    x, x_at + r0 * x_ld + column(s, width, apart), x_ld, 1, w, w_at + s * n + j, n,
                    y, y_at + r0 * y_ld + j, y_ld, r1 - r0, min(depth, k - s), columns,
                    FROM_VECTOR if s == 0 else FROM_OUTPUT, b, b_at + j, finish if s + depth >= k else KEEP, y, 0,
                    words, words_at + t0 * per_tile, per_tile,
                )  # fmt: skip
        if activation >= SIGMOID:
            activate_block(y, y_at + r0 * y_ld + j, y_ld, r1 - r0, columns, activation)


@outlined
def inputs_part(
    dz, dz_at, dz_ld, w, w_at, in_panels, dx, dx_at, dx_ld, m, k, n, by_panels, apart, activation, y, y_at,
    scratch, s_at, worker, n_workers,
):  # fmt: skip
    """Compute a worker's part of `dx = (dz @ w.T) * act'(y)`; `y` lies as `dx` does, `dx_ld` apart.

    `in_panels`, if not 0, says that `w` lies as `panels.rearrange` lays it out: not for `k` up to NARROW. `by_panels`,
    if not 0, that a worker is to have the columns of `dx` that it has of `y`, if that is from `forward_panels`. Both
    lie in panels `apart` elements apart, if that is not 0.
    """
    step = lanes(dx)
    width = TILE_VECTORS * step
    unit = k if k <= NARROW else step
    tiles = (m + TILE_ROWS - 1) // TILE_ROWS
    t0, t1, v0, v1, _ = parts(tiles, (k + unit - 1) // unit, 2, worker, n_workers)
    if by_panels != 0:
        t0, t1, p0, p1 = panel_parts(tiles, (k + width - 1) // width, apart != 0, worker, n_workers)
        v0, v1 = p0 * TILE_VECTORS, p1 * TILE_VECTORS
    r0, r1 = t0 * TILE_ROWS, min(m, t1 * TILE_ROWS)
    if r1 <= r0:
        return
    if k <= NARROW and r1 - r0 >= step:
        if v1 > v0:
            narrow_product(
                dz, dz_at + r0 * dz_ld, dz_ld, w, w_at, n, 1, dx, 0, dx, dx_at + r0 * dx_ld, dx_ld, r1 - r0, n, k,
                0, scratch, s_at,
            )  # fmt: skip
            at = r0 * dx_ld
            derive_block(dx, y, dx_at + at, y_at + at, dx_ld, r1 - r0, k, activation)
        return
    finish = WHERE_POSITIVE if activation == RELU else KEEP
    begin, end = v0 * unit, min(k, v1 * unit)
    if BY_ROWS and apart == 0 and in_panels == 0 and few_columns(dx, n):
        ld, at = (max(0, end - begin) + step - 1) // step * step, r0 * dx_ld + begin
        turn(w, w_at + begin * n, n, end - begin, n, scratch, s_at, ld)
        inputs_by_rows(
            n, r1 - r0, end - begin, dz, dz_at + r0 * dz_ld, dz_ld, scratch, s_at, ld, dx, dx_at + at, dx_ld,
            finish, y, y_at + at,
        )  # fmt: skip
        if activation >= SIGMOID:
            derive_block(dx, y, dx_at + at, y_at + at, dx_ld, r1 - r0, end - begin, activation)
        return
    for j in range(begin, end, width):
        columns = min(width, end - j)
        for c in range(0, columns, step):
            for i in range(0, n, step):
                at, ld = w_at + (j + c) * n + i, n
                if in_panels != 0:
                    first = i // width * width
                    ld = min(width, n - first)
                    at = w_at + first * k + (j + c) * ld + i - first
                transpose(
                    w, at, ld, min(step, columns - c), min(step, n - i), scratch, s_at + i * width + c, width
                )  # fmt: skip
        at = r0 * dx_ld + column(j, width, apart)
        panel(
            dz, dz_at + r0 * dz_ld, dz_ld, 1, scratch, s_at, width, dx, dx_at + at, dx_ld,
            r1 - r0, n, columns, ZERO, dx, 0, finish, y, y_at + at, dx, 0, 0,
        )  # fmt: skip
        if activation >= SIGMOID:
            derive_block(dx, y, dx_at + at, y_at + at, dx_ld, r1 - r0, columns, activation)


@kernel
def column_sums(dz, dz_at, ld, m, first, last, db, db_at):
    """Write `db[j] = sum_i dz[i, j]` for `first <= j < last`, added in increasing `i`."""
    step = lanes(dz)
    one = splat(dz, 1.0)
    for j in range(first, last, 4 * step):
        # Four registers wide: a lone chain of additions would wait on its own latency.
        n0, n1, n2, n3 = last - j, last - j - step, last - j - 2 * step, last - j - 3 * step
        s0 = splat(dz, 0.0)
        s1, s2, s3 = s0, s0, s0
        for i in range(m):
            at = dz_at + i * ld + j
            s0 = fma(one, load_n(dz, at, n0), s0)
            s1 = fma(one, load_n(dz, at + step, n1), s1)
            s2 = fma(one, load_n(dz, at + 2 * step, n2), s2)
            s3 = fma(one, load_n(dz, at + 3 * step, n3), s3)
        store_n(db, db_at + j, s0, n0)
        store_n(db, db_at + j + step, s1, n1)
        store_n(db, db_at + j + 2 * step, s2, n2)
        store_n(db, db_at + j + 3 * step, s3, n3)


@kernel
def few_columns(like, n):
    """Tell whether a layer has so few outputs that `gradient_block` computes their gradient turned."""
    return n <= min(MOST_TURNED, TILE_VECTORS * lanes(like))


@primitive("pipiiiiiipipippiipp")
def gradient_block(
    x, x_ld, dz, dz_ld, m, n, rows, columns, start, out, ld, words, per_tile, scratch, p, p_ld, p_rows, s1, s2
):  # fmt: skip
    """Write the block `out[i, j] = sum_s x[s, i] * dz[s, j]`, `rows` × `columns`, at `out[i * ld + j]`.

    With `start` FROM_OUTPUT the sum goes on from what is there. Meanwhile `p_rows` rows for each tile of the blocks of
    `p`, `s1` and `s2` are prefetched, to be written. Called with an offset behind each array.

    A layer of few outputs is computed turned, with the vectors along its inputs, and turned back: 35 cycles a sample
    instead of 68 at 100 × 10.
    """
    step = lanes(out)
    width = TILE_VECTORS * step
    if not few_columns(out, n) or rows < step:
        height = TILE_ROWS if per_tile == 0 else SHORT_ROWS
        ask_step, asked, r = height * p_ld, min(height, p_rows), 0
        if WHOLE_TILES and per_tile == 0 and columns == width and rows >= height:
            tiles = rows // height
            tiles_asking(
                x, 0, x_ld, dz, 0, dz_ld, out, 0, ld, tiles, m, start, p, 0, s1, 0, s2, 0, p_ld, p_rows, ask_step
            )
            r, asked = tiles * height, 0
        if r < rows:
            panel_asking(
                x, r, 1, x_ld, dz, 0, dz_ld, out, r * ld, ld, rows - r, m, columns, start, out, 0, KEEP, out, 0,
                p, 0, s1, 0, s2, 0, p_ld, asked, ask_step, words, 0, per_tile, height,
            )  # fmt: skip
        return
    for i in range(0, rows, width):
        here = min(width, rows - i)
        panel(
            dz, 0, 1, dz_ld, x, i, x_ld, scratch, 0, width, columns, m, here,
            ZERO, out, 0, KEEP, out, 0, out, 0, 0,
        )  # fmt: skip
        turn(scratch, 0, width, columns, here, out, i * ld, ld)


@primitive("piiipi")
def turn(source, stride, rows, columns, target, target_stride):
    """Transpose a block of any size; arguments as `_simd.transpose`, whose code is kept out of the callers.

    The last pieces are whole ones too, where there is room for one, and share rows and columns with those before
    (8192 × 10 and back, registers of eight: 122 -> 67 µs; pieces of half a register for what is left of ten: level).
    """
    step = lanes(source)
    for up in range(0, rows, step):
        i = max(0, min(up, rows - step))
        for left in range(0, columns, step):
            j = max(0, min(left, columns - step))
            transpose(
                source, i * stride + j, stride, min(step, rows - i), min(step, columns - j),
                target, j * target_stride + i, target_stride,
            )  # fmt: skip


@kernel
def weights_part(x, x_at, x_ld, dz, dz_at, dz_ld, dw, dw_at, db, db_at, m, k, n, scratch, s_at, worker, n_workers):
    """Compute a worker's part of `dw = x.T @ dz` and `db = dz.sum(0)`."""
    step = lanes(dw)
    width = TILE_VECTORS * step
    t0, t1, v0, v1, row = parts((k + TILE_ROWS - 1) // TILE_ROWS, (n + step - 1) // step, 1, worker, n_workers)
    r0, r1 = t0 * TILE_ROWS, min(k, t1 * TILE_ROWS)
    first, last = v0 * step, min(n, v1 * step)
    turned = few_columns(dw, n)
    # Pieces and blocks as those of `network.learn` where it copies no columns, but that all of a turned gradient is
    # computed at once.
    count = 1 if turned else pieces(m, STEPS_AT_ONCE)
    depth = max(1, (m + count - 1) // count)
    packs = not turned and packing_pays(x, x_ld, dz_ld, m, r1 - r0)
    copies = packs or far_apart(dz, dz_ld) and not turned
    height = BLOCK_ROWS if packs or count > 1 else max(1, r1 - r0)
    span = COPY_PANELS * width
    p_at, p_ld = s_at + span * m, (min(height, r1 - r0) + step - 1) // step * step
    for j in range(first, last if r1 > r0 else first, span):
        across = min(span, last - j)
        if copies:
            copy_panels(dz, dz_at + j, dz_ld, m, across, scratch, s_at)
        for r in range(r0, r1, height):
            rows = min(height, r1 - r)
            # Without samples there is a gradient still: zeros.
            for s in range(0, max(1, m), depth):
                steps, start = min(depth, m - s), ZERO if s == 0 else FROM_OUTPUT
                begin = x_at + s * x_ld + r
                if packs:
                    pack_rows(x, begin, x_ld, steps, rows, scratch, p_at, p_ld)
                for c in range(0, across, width):
                    columns, at, copied = min(width, across - c), dw_at + r * n + j + c, s_at + c * m + s * width
                    if packs:
                        gradient_block(
                            scratch, p_at, p_ld, scratch, copied, width, steps, n, rows, columns,
                            start, dw, at, n, dw, 0, 0, scratch, s_at, dw, 0, 0, 0, dw, 0, dw, 0,
                        )  # fmt: skip
                    elif copies:
                        panel(
                            x, begin, 1, x_ld, scratch, copied, width, dw, at, n, rows, steps, columns,
                            start, dw, 0, KEEP, dw, 0, dw, 0, 0,
                        )  # fmt: skip
                    else:
                        gradient_block(
                            x, begin, x_ld, dz, dz_at + s * dz_ld + j + c, dz_ld, steps, n, rows, columns,
                            start, dw, at, n, dw, 0, 0, scratch, s_at, dw, 0, 0, 0, dw, 0, dw, 0,
                        )  # fmt: skip
    if row == 0:
        column_sums(dz, dz_at, dz_ld, m, first, last, db, db_at)


@kernel
def dense_forward(x, w, b, y, activation, scratch, n_workers):
    """Dense layer: `y = act(x @ w + b)`.

    Parameters
    ----------
    x : (m, k) array of T, read
    w : (k, n) array of T, read
    b : (n,) array of T, read
    y : (m, n) array of T, written
    activation : int
        LINEAR, RELU, SIGMOID or TANH.
    scratch : 1-D array of T, written
        At least ``scratch_size(k, n, T, n_workers)`` long.
    n_workers : int
        Parts the output is cut into; parallel over output tiles.

    Notes
    -----
    T is float32 or float64 throughout; sums are fused multiply-add chains of T over k, begun at the bias.
    """
    m, k, n = x.shape[0], x.shape[1], w.shape[1]
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        forward_part(x, 0, k, 0, w, 0, b, 0, y, 0, n, m, k, n, activation, y, 0, 0, scratch, i * part, i, n_workers)
        as_before(mode)


@kernel
def dense_backward_inputs(dz, w, dx, scratch, n_workers):
    """Gradient of a dense layer's inputs: `dx = dz @ w.T`.

    Parameters
    ----------
    dz : (m, n) array of T, read
    w : (k, n) array of T, read
    dx : (m, k) array of T, written
    scratch : 1-D array of T, written
        At least ``scratch_size(k, n, T, n_workers)`` long.
    n_workers : int
        Parts the output is cut into; parallel over output tiles.
    """
    m, k, n = dz.shape[0], w.shape[0], w.shape[1]
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        inputs_part(dz, 0, n, w, 0, 0, dx, 0, k, m, k, n, 0, 0, LINEAR, dx, 0, scratch, i * part, i, n_workers)
        as_before(mode)


@kernel
def dense_backward_weights(x, dz, dw, db, scratch, n_workers):
    """Gradients of a dense layer's parameters: `dw = x.T @ dz`, `db = dz.sum(axis=0)`.

    Parameters
    ----------
    x : (m, k) array of T, read
    dz : (m, n) array of T, read
    dw : (k, n) array of T, overwritten
    db : (n,) array of T, overwritten
    scratch : 1-D array of T, written
        At least ``scratch_size(max(k, m), n, T, n_workers)`` long.
    n_workers : int
        Parts the output is cut into; parallel over output tiles.

    Notes
    -----
    Sums run over the batch in order, in T; slicing the batch among threads would make bits depend on their number.
    """
    m, k, n = x.shape[0], x.shape[1], dz.shape[1]
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        mode = flush_tiny()
        i = np.int64(worker)
        weights_part(x, 0, k, dz, 0, n, dw, 0, db, 0, m, k, n, scratch, i * part, i, n_workers)
        as_before(mode)


@kernel
def matmul(a, b, c, form, scratch, n_workers):
    """Product of two matrices: `c = a @ b` (form 0, "nn"), `a @ b.T` (1, "nt") or `a.T @ b` (2, "tn").

    Parameters
    ----------
    a, b : 2-D arrays of T, read
    c : 2-D array of T, written
    form : int
        Which operand is taken transposed.
    scratch : 1-D array of T, written
        ``scratch_size`` of the two largest extents.
    n_workers : int
        Parts the output is cut into; parallel over output tiles.
    """
    m, n = c.shape[0], c.shape[1]
    part = scratch.size // n_workers
    for worker in prange(n_workers):
        i = np.int64(worker)
        at = i * part
        if form == 1:
            inputs_part(
                a, 0, a.shape[1], b, 0, 0, c, 0, n, m, n, a.shape[1], 0, 0, LINEAR, c, 0, scratch, at, i, n_workers
            )
        else:
            product_part(a, b, c, form, scratch, at, i, n_workers)


@kernel
def product_part(a, b, c, form, scratch, s_at, worker, n_workers):
    """Compute a worker's part of `a @ b` (form 0) or `a.T @ b` (form 2)."""
    m, n = c.shape[0], c.shape[1]
    depth = b.shape[0]
    a_row = a.shape[1] if form == 0 else 1
    a_step = 1 if form == 0 else a.shape[1]
    step = lanes(c)
    width = TILE_VECTORS * step
    t0, t1, v0, v1, _ = parts((m + TILE_ROWS - 1) // TILE_ROWS, (n + step - 1) // step, 1, worker, n_workers)
    r0, r1 = t0 * TILE_ROWS, min(m, t1 * TILE_ROWS)
    packs, end = copies_pay(b, n, r1 - r0, n), min(n, v1 * step)
    span, copied = COPY_PANELS * width, 0
    for j in range(v0 * step, end, width):
        columns = min(width, end - j)
        if packs:
            place = s_at + copied * depth
            if copied == 0:
                copy_panels(b, j, n, depth, min(span, end - j), scratch, s_at)
            copied = copied + width if copied + width < span else 0
            panel(
                a, r0 * a_row, a_row, a_step, scratch, place, width, c, r0 * n + j, n, r1 - r0, depth, columns,
                ZERO, c, 0, KEEP, c, 0, c, 0, 0,
            )  # fmt: skip
        else:
            panel(
                a, r0 * a_row, a_row, a_step, b, j, n, c, r0 * n + j, n, r1 - r0, depth, columns,
                ZERO, c, 0, KEEP, c, 0, c, 0, 0,
            )  # fmt: skip
