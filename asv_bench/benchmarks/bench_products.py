"""Matrix products and dense layers on one thread, beside NumPy's BLAS."""

from .common import LIBRARIES, extents, prepared

SHAPES = ["128x784x512", "128x512x512", "32x784x128"]


class Product:
    """`m x k x n`: an (m, n) result, each element a sum over k; "t" marks the factor that lies transposed."""

    params = (SHAPES, ["nn", "nt", "tn"], LIBRARIES)
    param_names = ["m_k_n", "form", "library"]

    def setup(self, shape, form, library):
        self.run = prepared(f"gemm.matmul[{form}]", extents(shape), library)

    def time_product(self, shape, form, library):
        self.run()


class Dense:
    """A layer of k inputs and n outputs on m samples; ReLU in the forward pass."""

    params = (SHAPES, LIBRARIES)
    param_names = ["m_k_n", "library"]

    def setup(self, shape, library):
        names = ("dense_forward[relu]", "dense_backward_inputs", "dense_backward_weights")
        self.forward, self.inputs, self.weights = (prepared(f"gemm.{name}", extents(shape), library) for name in names)

    def time_forward(self, shape, library):
        self.forward()

    def time_backward(self, shape, library):
        self.weights()
        self.inputs()
