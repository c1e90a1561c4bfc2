"""Dense layers of at most `LIMIT` inputs or outputs, with the bits of `gemm`: see `_simd_few`.

Each function is compiled once for a dtype and called with an offset behind each array.
"""

import numpy as np

from ._compile import kernel, primitive
from ._simd import NARROW
from ._simd_few import few_inputs_backward, few_inputs_forward, few_outputs_backward, few_outputs_forward

LIMIT = NARROW
ONE_PIECE = 1 << 40
"""What `few_out` takes for elements of a row that lie together where all of them do."""


@primitive("iiipippp")
def few_in(k, m, n, x, x_row, w, b, y):
    """`_simd_few.few_inputs_forward` behind a symbol."""
    few_inputs_forward(k, m, n, x, x_row, w, b, y)


@primitive("iiipippp")
def few_in_back(k, m, n, x, x_row, dz, dw, db):
    """`_simd_few.few_inputs_backward` behind a symbol."""
    few_inputs_backward(k, m, n, x, x_row, dz, dw, db)


@primitive("iiipiiipiipipi")
def few_out(n, m, k, x, x_row, together, apart, w, w_row, w_step, b, biased, y, y_row):
    """`_simd_few.few_outputs_forward` behind a symbol."""
    few_outputs_forward(n, m, k, x, x_row, together, apart, w, w_row, w_step, b, biased, y, y_row)


@primitive("iiipppppp")
def few_out_back(n, m, k, x, dz, wt, dwt, db, dx):
    """`_simd_few.few_outputs_backward` behind a symbol."""
    few_outputs_backward(n, m, k, x, dz, wt, dwt, db, dx)


@kernel
def few_outputs_gradients(x, dz, w, dw, db, dx, m, k, n, scratch):
    """Compute all gradients of a layer of few outputs; arrays are whole, and `scratch` holds `2 k n` elements."""
    ws, dws = w.reshape(k * n), dw.reshape(k * n)
    for c in range(n):
        for i in range(k):
            scratch[np.uint64(c * k + i)] = ws[np.uint64(i * n + c)]
    few_out_back(n, m, k, x, 0, dz, 0, scratch, 0, scratch, k * n, db, 0, dx, 0)
    for i in range(k):
        for c in range(n):
            dws[np.uint64(i * n + c)] = scratch[np.uint64((n + c) * k + i)]
