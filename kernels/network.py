"""A network lowered to numbers: what its layers do, forward and backward, for one worker of several.

A *plan* has one row of integers per operation; activations and gradients lie in one flat workspace at the offsets
the plan names. No code is compiled for an architecture.
"""

from ._compile import kernel, outlined, primitive
from ._simd import (
    BLOCK_PANELS,
    COPIED_STEPS,
    FROM_OUTPUT,
    NARROW,
    SHORT_ROWS,
    STEPS_AT_ONCE,
    TILE_ROWS,
    TILE_VECTORS,
    ZERO,
    itemsize,
    lanes,
    prefetch,
    prefetch_to_write,
)
from .activations import activate_part, derive_part, softmax_backward_part, softmax_part
from .copies import (
    BLOCK_ROWS,
    PACK_BYTES,
    PACK_BYTES_COPIED,
    columns_room,
    copies_columns,
    copy_panels,
    pack_rows,
    piece_room,
    pieces,
)
from .dropout import dropout_part
from .gemm import LINEAR, column_sums, few_columns, forward_panels, forward_part, gradient_block, inputs_part
from .optim import update_block
from .panels import panel_width
from .penalties import add_gradient_block, block_value
from .split import column, get, panel_parts, parts, put, rows_or_columns, share
from .sync import MOST_WORKERS
from .zeros import note_columns, words_for

# Operations.
DENSE, ACTIVATION, DROPOUT, SOFTMAX = 0, 1, 2, 3
# Columns of the plan. `OUT` is the operation's output and `GRAD` the gradient of it (for a dense layer with an
# activation: of what goes into the activation), both with rows `LD` apart. The input is the row above's output.
# `PANELS` is 1 where the weights lie as `panels.rearrange` lays them out. `ROW_WORDS` and `COLUMN_WORDS` are where the
# workspace has the bits of what is not zero in a first layer's inputs, as `zeros` notes them; 0 where nobody does.
# `APART`, if not 0, is the distance of panels that the output and its gradient lie in as well: the lines next to those
# that one core reads are then not those that another one writes, which its prefetcher would take. `NEAR` is 1 where
# all that a step touches is so little that nobody asks for what is updated next.
(KIND, N_IN, N_OUT, WEIGHTS, BIASES, ACTIVATE, OUT, GRAD, LD, STREAM, SEED, PANELS, ROW_WORDS, COLUMN_WORDS,
 APART, NEAR) = range(16)  # fmt: skip
COLUMNS = 16
# Columns of the table of factors, one row per operation.
WEIGHT_L1, WEIGHT_L2, BIAS_L1, BIAS_L2, RATE = range(5)
FACTORS = 5
SPARE = 64
"""Elements behind the last parameter: kernels of narrow networks read whole registers."""
ROWS_AHEAD = 2
"""Rows that a gathered batch asks for ahead of the one that it copies: 128 rows of 784 in 25 µs instead of 62."""
MOST_PARTS, MOST_PARTS_UNEVEN = 2, 4
"""Most parts for each worker of a product that is shared out, and where cores are unlike.

Four lost 2 to 6 % where all cores were free; two gain nothing where one is a third slower.
"""
NEAR_BYTES = 3_000_000
"""Most bytes of parameters, state and workspace that are near.

Asking then costs more instructions than it saves waiting: without, 784-128-10 is 1.02 to 1.08 times as fast on Zen 3,
1.15 on Ice Lake (32 rows, two threads), 784-256-10 1.04 and level (64 rows), and 784-512-512-10, 13 MB of them, 0.89 to
0.93 times on both (128 rows).
"""


def block_size(rows, itemsize):
    """Return the elements, of `itemsize` bytes, of a block of gradient in scratch, or of what is copied for one."""
    operands = piece_room(rows, itemsize) + columns_room(rows, itemsize)
    return max(BLOCK_ROWS * BLOCK_PANELS * panel_width(itemsize), operands)


@kernel
def copy_rows(source, ld, order, start, first, last, target, target_at, target_ld, n):
    """Copy the rows `order[start + first:start + last]` of `source` to consecutive rows of `target`."""
    step = lanes(source)
    for r in range(first, last):
        origin, place = order[start + r] * ld, target_at + r * target_ld
        # Rows come from anywhere in memory, and go where another core has read.
        ahead = order[start + min(r + ROWS_AHEAD, last - 1)] * ld
        # Not the row that another worker writes.
        below = place + (target_ld if r + 1 < last else 0)
        for j in range(0, n, step):
            whole = n - j >= step
            prefetch(source, ahead + j)
            prefetch_to_write(target, below + j)
            put(target, place + j, get(source, origin + j, n - j, whole), n - j, whole)


@kernel
def parts_each(plan, o, m, least, n_workers, uneven):
    """Return in how many parts for each worker a product of operation `o` is shared out; 1: each has its own.

    A part has at least `least` operations. `uneven`, if not 0, says that cores are unlike.
    """
    if n_workers == 1 or n_workers > MOST_WORKERS or plan[o, KIND] != DENSE:
        return 1
    most = MOST_PARTS if uneven == 0 else MOST_PARTS_UNEVEN
    return max(1, min(most, 2 * m * plan[o, N_IN] * plan[o, N_OUT] // (n_workers * least)))


@kernel
def loss_rows(plan, m, each, work, worker, n_workers):
    """Return (first row, last row, whether these outputs are the worker's own): its part of the loss.

    If they are its own, it needs not wait for the others to come to the end of the last layer, of which `each` is what
    `parts_each` says.
    """
    o = plan.shape[0] - 1
    if each == 1 and plan[o, KIND] == DENSE and plan[o, PANELS] == 0:
        # As `forward_part` shares them out: whole rows, or a single vector of columns that not all workers have.
        n = plan[o, N_OUT]
        unit = n if n <= NARROW else lanes(work)
        vectors = (n + unit - 1) // unit
        t0, t1, v0, v1, _ = parts((m + TILE_ROWS - 1) // TILE_ROWS, vectors, 1, worker, n_workers)
        if vectors == 1 or v1 - v0 == vectors:
            return t0 * TILE_ROWS, min(m, t1 * TILE_ROWS) if v1 > v0 else t0 * TILE_ROWS, True
    return share(m, worker, n_workers, 16), share(m, worker + 1, n_workers, 16), False


@kernel
def keeps_columns(plan, o, m, n_workers, each, before, params):
    """Tell whether each worker can go on alone from `backward` of operation `o` to its part of `learn` of `o - 1`.

    It can where it has, of what lies between the two layers, the same columns in all phases. `each` and `before` are
    what `parts_each` says of the two operations.
    """
    if each != 1 or before != 1 or plan[o - 1, PANELS] == 0 or plan[o, PANELS] != 0 or plan[o, KIND] != DENSE:
        return False
    width, tiles = TILE_VECTORS * lanes(params), (m + TILE_ROWS - 1) // TILE_ROWS
    t0, t1, _, _ = panel_parts(tiles, (plan[o, N_IN] + width - 1) // width, plan[o - 1, APART] != 0, 0, n_workers)
    _, _, r0, r1 = rows_or_columns(plan[o - 1, N_IN], plan[o, N_IN], width, True, 0, n_workers)
    return t1 - t0 == tiles and r1 - r0 == plan[o - 1, N_IN]


@outlined
def operate(plan, factors, o, x, x_at, x_ld, params, work, base, m, training, step_number,
            scratch, s_at, worker, n_workers):  # fmt: skip
    """Run operation `o` forward on `m` rows of `x`, a worker's part."""
    kind, n = plan[o, KIND], plan[o, N_OUT]
    out, ld = base + plan[o, OUT], plan[o, LD]
    k, words, per_tile = plan[o, N_IN], plan[o, ROW_WORDS], 0
    if kind == DENSE and words != 0:
        per_tile = words_for(x, k)
        if plan[o, COLUMN_WORDS] != 0:
            note_columns(x, x_at, x_ld, m, k, work, plan[o, COLUMN_WORDS], scratch, s_at, worker, n_workers)
    if kind == DENSE and plan[o, PANELS] != 0:
        forward_panels(
            x, x_at, x_ld, params, plan[o, WEIGHTS], params, plan[o, BIASES], work, out, ld, plan[o, APART],
            m, k, n, plan[o, ACTIVATE], work, words, per_tile, worker, n_workers,
        )  # fmt: skip
        return
    if kind == DENSE:
        forward_part(
            x, x_at, x_ld, plan[o - 1, APART] if o > 0 else 0, params, plan[o, WEIGHTS], params, plan[o, BIASES],
            work, out, ld, m, k, n, plan[o, ACTIVATE], work, words, per_tile, scratch, s_at, worker, n_workers,
        )  # fmt: skip
        return
    first, last = share(m, worker, n_workers, 16), share(m, worker + 1, n_workers, 16)
    rows, x_first, out_first = last - first, x_at + first * x_ld, out + first * ld
    if kind == ACTIVATION:
        activate_part(x, x_first, x_ld, work, out_first, ld, rows, n, plan[o, ACTIVATE])
    elif kind == SOFTMAX:
        softmax_part(x, x_first, x_ld, work, out_first, ld, rows, n)
    elif training:
        dropout_part(
            x, x_at, x_ld, work, out, ld, first, last, n, factors[o, RATE], plan[o, SEED], plan[o, STREAM], step_number
        )
    else:
        activate_part(x, x_first, x_ld, work, out_first, ld, rows, n, LINEAR)


@outlined
def backward(plan, factors, o, params, work, row, m, step_number, scratch, s_at, worker, n_workers):
    """Write the gradient of the output of operation `o - 1` from that of `o`, a worker's part.

    Of `m` rows from `row` on, which is 0 but for dense operations.
    """
    kind, n = plan[o, KIND], plan[o, N_OUT]
    d, ld = plan[o, GRAD], plan[o, LD]
    dx, dx_ld, k = plan[o - 1, GRAD], plan[o - 1, LD], plan[o - 1, N_OUT]
    # A dense layer's gradient buffer is for what goes into its activation.
    before = plan[o - 1, ACTIVATE] if plan[o - 1, KIND] == DENSE else LINEAR
    if kind == DENSE:
        inputs_part(
            work, d + row * ld, ld, params, plan[o, WEIGHTS], plan[o, PANELS], work, dx + row * dx_ld, dx_ld, m, k, n,
            plan[o - 1, PANELS], plan[o - 1, APART], before, work, plan[o - 1, OUT] + row * dx_ld, scratch, s_at,
            worker, n_workers,
        )  # fmt: skip
        return
    first, last = share(m, worker, n_workers, 16), share(m, worker + 1, n_workers, 16)
    rows = last - first
    if kind == ACTIVATION:
        derive_part(
            work, d + first * ld, ld, work, plan[o, OUT] + first * ld, ld, work, dx + first * dx_ld, dx_ld,
            rows, n, plan[o, ACTIVATE],
        )  # fmt: skip
    elif kind == SOFTMAX:
        softmax_backward_part(
            work, d + first * ld, ld, work, plan[o, OUT] + first * ld, ld, work, dx + first * dx_ld, dx_ld, rows, n
        )
    else:
        dropout_part(
            work, d, ld, work, dx, dx_ld, first, last, n, factors[o, RATE], plan[o, SEED], plan[o, STREAM], step_number
        )
    if before != LINEAR:
        at = plan[o - 1, OUT] + first * dx_ld
        derive_part(work, dx + first * dx_ld, dx_ld, work, at, dx_ld, work, dx + first * dx_ld, dx_ld, rows, n, before)


@primitive("ipipipppiiiip")
def update_rows(kind, params, ld, grads, grads_ld, s1, s2, s3, rows, columns, l1, l2, h):
    """Add the penalties' gradient to a block of gradient, and update the parameters that it belongs to.

    Called with an offset behind each array.
    """
    if l1 > 0.0 or l2 > 0.0:
        add_gradient_block(grads, 0, grads_ld, params, 0, ld, rows, columns, l1, l2)
    update_block(kind, params, 0, ld, grads, 0, grads_ld, s1, 0, s2, 0, s3, 0, rows, columns, h, 0)


@outlined
def learn(plan, factors, o, x, x_at, x_ld, params, s1, s2, s3, work, m, kind, h, scratch, s_at, block_at,
          worker, n_workers):  # fmt: skip
    """Update the parameters of dense operation `o`: a worker's part of its gradient, block by block.

    Each block of the gradient is consumed by the optimiser while it is in a cache of the core's own; the gradient as
    a whole is never stored.
    """
    k, n = plan[o, N_IN], plan[o, N_OUT]
    w_at, b_at, d, ld = plan[o, WEIGHTS], plan[o, BIASES], plan[o, GRAD], plan[o, LD]
    step = lanes(params)
    width = TILE_VECTORS * step
    in_panels, far = plan[o, PANELS] != 0, plan[o, NEAR] == 0
    turned = few_columns(params, n)
    # Few columns are taken all at once.
    unit = width if in_panels else n if turned else step
    first, last, r0, r1 = rows_or_columns(k, n, unit, in_panels, worker, n_workers)
    if o > 0 and plan[o - 1, PANELS] != 0 and not in_panels:
        # The inputs that are this worker's own: it has written them, and goes back through them.
        first, last, r0, r1 = 0, n, share(k, worker, n_workers, width), share(k, worker + 1, n_workers, width)
    apart, x_apart = plan[o, APART], plan[o - 1, APART] if o > 0 else 0
    # Blocks of about the same height: a lone tile in the last one would load all operands for itself.
    blocks = max(1, (r1 - r0 + BLOCK_ROWS - 1) // BLOCK_ROWS) * TILE_ROWS
    height = width if turned else max(1, (r1 - r0 + blocks - 1) // blocks) * TILE_ROWS
    # Blocks of a turned layer do not begin where tiles begin.
    words, per_tile, tall = plan[o, COLUMN_WORDS], 0, TILE_ROWS
    if words != 0 and not turned:
        per_tile, tall = words_for(x, m), SHORT_ROWS
    copied = not turned and per_tile == 0 and apart == 0 and copies_columns(m, r1 - r0)
    count = 1 if turned else pieces(m, COPIED_STEPS if copied else STEPS_AT_ONCE)
    # Of zeros' bits whole words are taken.
    depth = (m + count - 1) // count if per_tile == 0 else STEPS_AT_ONCE // 64 * 64
    packs = count > 1 and per_tile == 0 and (x_ld + ld) * itemsize(x) > PACK_BYTES
    if copied:
        packs = x_ld * itemsize(x) > PACK_BYTES_COPIED
    pack_ld = (height + step - 1) // step * step
    copied_at = s_at + (depth * pack_ld if packs else 0)
    source, source_ld = (scratch, width) if copied else (work, ld)
    span = width if turned else BLOCK_PANELS * width
    w1, w2, b1, b2 = factors[o, WEIGHT_L1], factors[o, WEIGHT_L2], factors[o, BIAS_L1], factors[o, BIAS_L2]
    # State that is not there: the parameters stand for it.
    t1, t2 = s1 if s1.size > 0 else params, s2 if s2.size > 0 else params
    for j in range(first, last, span):
        columns = min(span, last - j)
        if copied:
            copy_panels(work, d + j, ld, m, columns, scratch, copied_at)
        for r in range(r0, r1, height):
            rows, at = min(height, r1 - r), w_at + r * n + j
            block_ld = n if turned else span
            for s in range(0, m, depth):
                steps, start = min(depth, m - s), ZERO if s == 0 else FROM_OUTPUT
                # Each piece asks for its share of the rows that are to be updated.
                a0, a1 = tall * s // m, tall * (s + steps) // m
                bits = words + r // SHORT_ROWS * per_tile + s // 64 * (8 // itemsize(work))
                begin = x_at + s * x_ld + column(r, width, x_apart)
                if packs:
                    pack_rows(x, begin, x_ld, steps, rows, scratch, s_at, pack_ld)
                for c in range(0, columns, width):
                    to, d_at = min(width, columns - c), d + s * ld + column(j + c, width, apart)
                    if copied:
                        d_at = copied_at + c * m + s * width
                    row_ld, ask = (to, w_at + (j + c) * k + r * to) if in_panels else (n, at + c)
                    ask, p_rows = ask + a0 * row_ld, a1 - a0 if far else 0
                    # Written twice: inputs that the caller may only read are another type than scratch.
                    if packs:
                        gradient_block(
                            scratch, s_at, pack_ld, source, d_at, source_ld, steps, n, rows, to, start,
                            scratch, block_at + c, block_ld, work, bits, per_tile, scratch, s_at,
                            params, ask, row_ld, p_rows, t1, ask, t2, ask,
                        )  # fmt: skip
                    else:
                        gradient_block(
                            x, begin, x_ld, source, d_at, source_ld, steps, n, rows, to, start,
                            scratch, block_at + c, block_ld, work, bits, per_tile, scratch, s_at,
                            params, ask, row_ld, p_rows, t1, ask, t2, ask,
                        )  # fmt: skip
            if in_panels:
                for c in range(0, columns, width):
                    to = min(width, columns - c)
                    at = w_at + (j + c) * k + r * to
                    update_block(
                        kind, params, at, to, scratch, block_at + c, block_ld, s1, at, s2, at, s3, at, rows, to, h, 0
                    )
            elif turned:
                # All columns are here: the block is one run of consecutive weights.
                update_rows(
                    kind, params, at, 0, scratch, block_at, 0, s1, at, s2, at, s3, at, 1, rows * n, w1, w2, h, 0
                )
            else:
                update_rows(
                    kind, params, at, n, scratch, block_at, block_ld, s1, at, s2, at, s3, at,
                    rows, columns, w1, w2, h, 0,
                )  # fmt: skip
        # Of rows, the first worker has a tile less where they do not come out even.
        if worker == 0 or last - first < n:
            if apart == 0:
                column_sums(work, d, ld, m, j, j + columns, scratch, block_at - j)
            else:
                for c in range(j, j + columns, width):
                    to = min(c + width, j + columns)
                    column_sums(work, d + column(c, width, apart) - c, ld, m, c, to, scratch, block_at - j)
            at = b_at + j
            update_rows(kind, params, at, 0, scratch, block_at, 0, s1, at, s2, at, s3, at, 1, columns, b1, b2, h, 0)


@kernel
def penalty(plan, factors, params):
    """Return the sum of all layers' penalties in float64."""
    total = 0.0
    for o in range(plan.shape[0]):
        if plan[o, KIND] == DENSE:
            w1, w2, b1, b2 = factors[o, WEIGHT_L1], factors[o, WEIGHT_L2], factors[o, BIAS_L1], factors[o, BIAS_L2]
            weights, biases = 0.0, 0.0
            if w1 > 0.0 or w2 > 0.0:
                weights = block_value(params, plan[o, WEIGHTS], plan[o, N_IN] * plan[o, N_OUT], w1, w2)
            if b1 > 0.0 or b2 > 0.0:
                biases = block_value(params, plan[o, BIASES], plan[o, N_OUT], b1, b2)
            total += weights + biases
    return total
