"""The door's checks of arrays: what is right passes, what is wrong is named together with its remedy."""

import numpy as np
import pytest

from fastnn import arrays

FLOATS = (np.float32, np.float64)


def in_order(array):
    return array.flags.carray and array.dtype.isnative and array.dtype in FLOATS and type(array) is np.ndarray


# Inputs.


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 5), (5, 1)])
def test_inputs_in_order_are_not_copied(dtype, shape):
    X = np.ones(shape, dtype)
    assert arrays.as_inputs(X) is X
    assert arrays.as_inputs(X, "X", shape[1], dtype) is X


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [
        ("bool", "float32"), ("int8", "float32"), ("uint8", "float32"), ("int64", "float32"),
        ("uint64", "float32"), ("float16", "float32"), (">i4", "float32"), (">f4", "float32"),
        (">f8", "float64"), ("longdouble", "float64"),
    ],
)  # fmt: skip
def test_input_dtypes(dtype, becomes):
    X = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    got = arrays.as_inputs(X)
    assert in_order(got) and got.dtype == becomes
    np.testing.assert_array_equal(got, [[0, 1], [1, 0], [1, 1]])


def strided(X):
    wide = np.zeros((len(X) * 2, X.shape[1] * 2), X.dtype)
    wide[::2, ::2] = X
    return wide[::2, ::2]


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def unaligned(X):
    raw = bytearray(b"\0" + X.tobytes())
    return np.frombuffer(raw, np.uint8)[1:].view(X.dtype).reshape(X.shape)


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray, strided, read_only, unaligned, lambda X: X[::-1][::-1], np.ma.MaskedArray,
        lambda X: np.lib.stride_tricks.as_strided(X, X.shape, X.strides, writeable=False),
        lambda X: X.astype(X.dtype.newbyteorder(">")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", FLOATS)
def test_input_layouts(change, dtype):
    X = np.arange(12, dtype=dtype).reshape(4, 3)
    got = arrays.as_inputs(change(X))
    assert in_order(got) and got.dtype == dtype
    np.testing.assert_array_equal(got, X)


def test_lists_and_data_frames():
    assert arrays.as_inputs([[1, 2], [3, 4]]).dtype == np.float32
    assert arrays.as_inputs([[1.5, 2], [3, 4]]).dtype == np.float64
    assert arrays.as_inputs(((1, 2), (3, 4))).shape == (2, 2)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    np.testing.assert_array_equal(arrays.as_inputs(frame), [[1, 3], [2, 4]])


def test_a_broadcast_view_becomes_an_array():
    X = np.broadcast_to(np.float32([1, 2]), (3, 2))
    got = arrays.as_inputs(X)
    assert in_order(got)
    np.testing.assert_array_equal(got, X)


class Sparse:
    def tocsr(self):
        return self


def detached():
    raise RuntimeError("call detach() first")


class Attached:
    def __array__(self, dtype=None, copy=None):
        return detached()


HUGE = np.full((2, 2), 1e300)
BAD_INPUTS = [
    ([1.0, 2.0], {}, ValueError, "X.reshape(-1, 1)"),
    (3.0, {}, ValueError, "[[X]]"),
    (np.zeros((2, 3, 4)), {}, ValueError, "X.reshape(len(X), -1)"),
    (np.zeros((0, 3)), {}, ValueError, "at least one row"),
    (np.zeros((3, 0)), {}, ValueError, "at least one column"),
    (np.zeros((3, 2)), {"width": 4}, ValueError, "4 columns"),
    ([[1.0], [1.0, 2.0]], {}, ValueError, "rows of different lengths"),
    (np.array([[1, 2.5]], object), {}, TypeError, "dtype=np.float64"),
    ([["a", "b"]], {}, TypeError, "return_inverse=True"),
    ([[b"a", b"b"]], {}, TypeError, "return_inverse=True"),
    (np.array([["2020-01-01"]], "M8[D]"), {}, TypeError, "np.timedelta64(1, 's')"),
    (np.array([[1]], "m8[s]"), {}, TypeError, "X / np.timedelta64(1, 's')"),
    ([[1 + 2j]], {}, TypeError, "X.real"),
    (np.zeros((2, 2), [("a", "f4")]), {}, TypeError, "structured_to_unstructured"),
    (None, {}, TypeError, "NoneType"),
    ({"a": [1]}, {}, TypeError, "dict"),
    (Sparse(), {}, TypeError, "X.toarray()"),
    (Attached(), {}, TypeError, "call detach() first"),
    (np.ma.MaskedArray([[1.0, 2.0]], [[True, False]]), {}, ValueError, "X.filled(0)"),
    ([[1.0, np.nan], [np.inf, 1.0]], {}, ValueError, "got nan at row 0, column 1"),
    (np.float32([[1.0, 1.0], [-np.inf, 1.0]]), {}, ValueError, "got -inf at row 1, column 0"),
    (HUGE, {"dtype": np.float32}, ValueError, "must fit float32"),
    (np.full((1, 1), np.finfo("f8").max, "f8").astype("longdouble") * 16, {}, ValueError, "float64"),
]


@pytest.mark.parametrize(("value", "options", "kind", "says"), BAD_INPUTS)
def test_bad_inputs(value, options, kind, says):
    with pytest.raises(kind) as caught:
        arrays.as_inputs(value, **options)
    assert says in str(caught.value)
    assert str(caught.value).startswith("X ")


def test_the_name_is_the_callers():
    with pytest.raises(ValueError, match=r"^X_val must be 2-D .* X_val.reshape"):
        arrays.as_inputs([1.0], "X_val")


def test_empty_and_not_finite_where_allowed():
    assert arrays.as_inputs(np.zeros((0, 3)), allow_empty=True).shape == (0, 3)
    X = np.array([[np.nan, np.inf]])
    assert arrays.as_inputs(X, finite=False) is X


@pytest.mark.parametrize("index", [0, 1, 131_071, 131_072, 131_073, 299_999])
def test_a_lone_nan_is_found_wherever_it_is(index):
    X = np.zeros((100_000, 3), np.float32)
    arrays.as_inputs(X)
    X.reshape(-1)[index] = np.nan
    with pytest.raises(ValueError, match=f"row {index // 3}, column {index % 3}:"):
        arrays.as_inputs(X)


def test_large_finite_values_whose_sum_overflows_pass():
    X = np.full((1000, 10), np.finfo(np.float32).max)
    assert arrays.as_inputs(X) is X


# Labels.


@pytest.mark.parametrize(
    "y",
    [
        [0, 2, 1], np.array([0, 2, 1], np.uint8), np.array([0, 2, 1], ">i2"), np.array([0.0, 2.0, 1.0]),
        np.array([[0], [2], [1]]), np.array([0, 9, 2, 9, 1])[::2], np.eye(3)[[0, 2, 1]],
        np.eye(3, dtype=bool)[[0, 2, 1]], np.eye(3, dtype=int)[[0, 2, 1]], np.array([0, 2, 1], np.uint64),
        np.array([0, 2, 1], np.float16), np.asfortranarray(np.eye(3)[[0, 2, 1]]),
    ],
)  # fmt: skip
def test_labels(y):
    got = arrays.as_labels(y, 3, 3)
    assert got.dtype == np.int64 and got.flags.carray
    np.testing.assert_array_equal(got, [0, 2, 1])


def test_bool_labels_and_series():
    np.testing.assert_array_equal(arrays.as_labels([True, False], 2, 2), [1, 0])
    pandas = pytest.importorskip("pandas")
    np.testing.assert_array_equal(arrays.as_labels(pandas.Series([1, 0], index=[7, 8]), 2, 2), [1, 0])


def test_labels_are_the_librarys_own():
    y = np.array([0, 1])
    got = arrays.as_labels(y, 2, 2)
    y[:] = 1_000_000
    np.testing.assert_array_equal(got, [0, 1])


BAD_LABELS = [
    ([0, 1], ValueError, "got 2 for 3 samples"),
    (1, ValueError, "single number"),
    ([0, 1, 3], ValueError, "first 3 at row 2: give the last layer 4 outputs"),
    ([1, 2, 3], ValueError, "subtract 1 from y"),
    ([0, -1, 1], ValueError, "first -1 at row 1"),
    ([0.0, 0.5, 1.0], ValueError, "got 0.5 at row 1"),
    ([0.0, np.nan, 1.0], ValueError, "got nan at row 1"),
    ([0.0, np.inf, 1.0], ValueError, "got inf at row 1"),
    ([0.0, 1e300, 1.0], ValueError, "classes from 0 to 2"),
    (np.array([0, 2**64 - 1, 1], np.uint64), ValueError, "classes from 0 to 2"),
    (["a", "b", "c"], TypeError, "np.unique(y, return_inverse=True)[1] or sklearn"),
    (np.array([0, 1, 2], object), TypeError, "number the classes from 0"),
    (np.ones((3, 3)), ValueError, "y.argmax(axis=1)"),
    (np.zeros((3, 3)), ValueError, "one-hot"),
    (np.zeros((3, 2)), ValueError, "(3, 3) if one-hot"),
    (np.zeros((3, 3, 1)), ValueError, "(3, 3) if one-hot"),
    ([1 + 0j, 0, 0], TypeError, "y.real"),
    (None, TypeError, "NoneType"),
]


@pytest.mark.parametrize(("y", "kind", "says"), BAD_LABELS)
def test_bad_labels(y, kind, says):
    with pytest.raises(kind) as caught:
        arrays.as_labels(y, 3, 3)
    assert says in str(caught.value)


def test_class_targets():
    labels, targets = arrays.as_class_targets([0, 1], 2, 2, np.float32)
    assert targets.shape == (0, 0) and targets.dtype == np.float32 and labels.tolist() == [0, 1]
    labels, targets = arrays.as_class_targets([[0.0, 1.0], [1.0, 0.0]], 2, 2, np.float32)
    assert targets.size == 0 and labels.tolist() == [1, 0]
    labels, targets = arrays.as_class_targets([[0.25, 0.75], [1.0, 0.0]], 2, 2, np.float32)
    assert labels.size == 0 and labels.dtype == np.int64 and in_order(targets) and targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[0.25, 0.75], [1, 0]])


@pytest.mark.parametrize("row", [[0.2, 0.2], [1.5, -0.5], [np.nan, 1.0]])
def test_what_is_no_probability(row):
    with pytest.raises(ValueError, match="at row 1"):
        arrays.as_class_targets([[0.5, 0.5], row], 2, 2, np.float64)


# Targets, gradients, parameters.


def test_targets():
    t = np.ones((3, 2), np.float32)
    assert arrays.as_targets(t, 3, 2, np.float32) is t
    assert arrays.as_targets([1, 2], 2, 1, np.float64).shape == (2, 1)
    for y, n, width, says in [
        ([1, 2], 3, 1, "got 2 for 3 samples"),
        ([1, 2], 2, 2, "(2, 2)"),
        ([[1, 2]], 1, 1, "(1, 1)"),
        ([1, np.nan], 2, 1, "got nan at row 1"),
        ([1, 1e300], 2, 1, "must fit float32"),
    ]:
        with pytest.raises(ValueError) as caught:
            arrays.as_targets(y, n, width, np.float32)
        assert says in str(caught.value)


def test_gradients_and_parameters():
    dtype = np.dtype(np.float64)
    dvalues = np.full((2, 3), np.nan)
    assert arrays.as_gradient(dvalues, (2, 3), dtype) is dvalues
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        arrays.as_gradient(np.zeros((3, 2)), (2, 3), dtype)
    assert arrays.as_parameter([1, 2], (2,), None, "biases").dtype == np.float64
    assert arrays.as_parameter(np.float32([[1, 2]]), (2,), None, "biases").shape == (2,)
    with pytest.raises(ValueError, match="biases must have the shape"):
        arrays.as_parameter([[1], [2]], (2,), None, "biases")


# Single values.


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: arrays.check_number("1", "a"), TypeError, "a must be a number, got str"),
        (lambda: arrays.check_number(True, "a"), TypeError, "got bool"),
        (lambda: arrays.check_number(np.nan, "a"), ValueError, "finite and at least 0"),
        (lambda: arrays.check_number(np.inf, "a", -np.inf), ValueError, "must be finite, got inf"),
        (lambda: arrays.check_number(-1, "a"), ValueError, "at least 0"),
        (lambda: arrays.check_number(0, "a", open_low=True), ValueError, "greater than 0"),
        (lambda: arrays.check_fraction(1.0, "a"), ValueError, "less than 1"),
        (lambda: arrays.check_positive_int(1.0, "a"), TypeError, "whole number"),
        (lambda: arrays.check_positive_int(np.zeros(2, int), "a"), TypeError, "whole number"),
        (lambda: arrays.check_positive_int(0, "a"), ValueError, "at least 1"),
        (lambda: arrays.check_choice("x", "a", ("y", "z")), ValueError, "'y', 'z'"),
        (lambda: arrays.check_choice([], "a", ("y", "z")), ValueError, "'y', 'z'"),
        (lambda: arrays.check_flag(1, "a"), TypeError, "True or False"),
        (lambda: arrays.check_seed(2**63), ValueError, "2**63 - 1"),
        (lambda: arrays.check_seed(-1), ValueError, "at least 0"),
        (lambda: arrays.check_name(""), TypeError, "not empty"),
        (lambda: arrays.check_name(3), TypeError, "not empty"),
    ],
)
def test_bad_single_values(call, kind, says):
    with pytest.raises(kind) as caught:
        call()
    assert says in str(caught.value)


def test_good_single_values():
    assert arrays.check_number(np.float32(0.5), "a") == 0.5
    assert arrays.check_number(np.array(2), "a") == 2.0
    assert arrays.check_positive_int(np.int8(3), "a") == 3
    assert arrays.check_seed(None) is None and arrays.check_seed(2**63 - 1) == 2**63 - 1
    assert arrays.check_flag(np.True_, "a") is True


# What is in order is let through quickly; all else goes the long way, to the same answer.

LAYOUTS = {
    "plain": lambda X: X,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "backwards": lambda X: np.ascontiguousarray(X[::-1])[::-1],
    "read-only": read_only,
    "unaligned": unaligned,
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
    "a subclass": lambda X: X.view(np.ma.MaskedArray),
    "a list": lambda X: X.tolist(),
    "float16": lambda X: X.astype(np.float16),
    "int64": lambda X: X.astype(np.int64),
    "the other float": lambda X: X.astype(np.float32 if X.dtype == np.float64 else np.float64),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_quick_way_and_the_long_way_agree(name, dtype):
    X = np.arange(12, dtype=dtype).reshape(4, 3)
    given = LAYOUTS[name](X)
    for got in (
        arrays.as_passed(given, "X"),
        arrays.as_passed(given, "X", 3),
        arrays.as_gradient(given, X.shape, X.dtype),
        arrays.as_parameter(given, X.shape, X.dtype, "X"),
        arrays.as_parameter(given, X.shape, None, "X"),
    ):
        assert in_order(got) and (got is given) == (isinstance(given, np.ndarray) and same(got, given))
        np.testing.assert_array_equal(got, X)
    assert arrays.as_passed(given, "X").dtype == arrays.as_inputs(given).dtype
    assert arrays.as_gradient(given, X.shape, X.dtype).dtype == dtype
    for wrong in (given, np.zeros((0, 3), dtype)):
        for call in (
            lambda: arrays.as_passed(wrong, "X", 4),  # noqa: B023
            lambda: arrays.as_gradient(wrong, (3, 4), X.dtype),  # noqa: B023
            lambda: arrays.as_parameter(wrong, (3, 4), None, "X"),  # noqa: B023
        ):
            with pytest.raises(ValueError, match="must have"):
                call()


def same(got, given):
    return in_order(given) and given.dtype == got.dtype


@pytest.mark.parametrize(
    "value", [np.zeros(3), np.zeros((2, 0)), np.zeros((1, 2, 3)), None, [["a"]], 1.0, [[1], [1, 2]]]
)
def test_what_is_passed_on_is_refused_as_inputs_are(value):
    found = []
    for call in (lambda: arrays.as_passed(value, "X"), lambda: arrays.as_inputs(value, "X")):
        with pytest.raises((TypeError, ValueError)) as caught:
            call()
        found.append((type(caught.value), str(caught.value)))
    assert found[0] == found[1]
    nothing = np.full((0, 2), np.nan)
    assert arrays.as_passed(nothing, "X") is nothing
    assert np.isnan(arrays.as_passed([[np.nan]], "X")).all()
