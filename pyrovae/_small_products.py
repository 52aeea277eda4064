"""Products of small matrices inside compiled code, whose sizes are known when it is compiled."""

from __future__ import annotations

import functools
import hashlib
import importlib
from typing import Any

import torch
from torch import fx

__all__ = ["fits", "small_product"]

MULTIPLICATIONS = 1 << 20  # above which a library, which shares a product among threads, is as fast
FACTOR = 1 << 15  # numbers of the right factor, which may be copied to the stack

# A tile of C stays in registers while rows of B are multiplied by numbers of A, and added to it.
SOURCE = """
#ifndef PYROVAE_PRODUCT
#define PYROVAE_PRODUCT
namespace pyrovae {
using Numbers = at::vec::Vectorized<float>;
constexpr int WIDTH = Numbers::size(), HEIGHT = WIDTH == 8 ? 6 : 8;

template <int ROWS, int VECTORS, int K, int A_ROW, int A_COLUMN, int B_ROW, int C_ROW>
inline __attribute__((always_inline)) void tile(const float* A, const float* B, float* C, const int last) {
    Numbers sums[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; j++) sums[i][j] = Numbers(0.0f);
    for (int k = 0; k < K; k++) {
        Numbers row[VECTORS];
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; j++) row[j] = Numbers::loadu(B + k * B_ROW + j * WIDTH);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++) {
            const Numbers factor(A[i * A_ROW + k * A_COLUMN]);
#pragma GCC unroll 2
            for (int j = 0; j < VECTORS; j++) sums[i][j] = at::vec::fmadd(factor, row[j], sums[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; j++) {
            float* at = C + i * C_ROW + j * WIDTH;
            if (j == VECTORS - 1 && last < WIDTH) sums[i][j].store(at, last);
            else sums[i][j].store(at);
        }
}

template <int VECTORS, int M, int K, int A_ROW, int A_COLUMN, int B_ROW, int C_ROW>
inline void columns(const float* A, const float* B, float* C, const int last) {
    constexpr int WHOLE = M / HEIGHT * HEIGHT;
    for (int m = 0; m < WHOLE; m += HEIGHT)
        tile<HEIGHT, VECTORS, K, A_ROW, A_COLUMN, B_ROW, C_ROW>(A + m * A_ROW, B, C + m * C_ROW, last);
    if constexpr (M > WHOLE)
        tile<M - WHOLE, VECTORS, K, A_ROW, A_COLUMN, B_ROW, C_ROW>(A + WHOLE * A_ROW, B, C + WHOLE * C_ROW, last);
}

template <int M, int N, int K, int A_ROW, int A_COLUMN, int B_ROW, int B_COLUMN>
inline void product(const float* A, const float* B, float* C) {
    constexpr int VECTORS = (N + WIDTH - 1) / WIDTH, PADDED = VECTORS * WIDTH, LAST = N - (VECTORS - 1) * WIDTH;
    constexpr bool AS_IT_IS = B_COLUMN == 1 && PADDED == N;
    constexpr int ROW = AS_IT_IS ? B_ROW : PADDED;
    alignas(64) float copied[AS_IT_IS ? 1 : K * PADDED];
    const float* rows = B;
    if constexpr (!AS_IT_IS) {
        constexpr bool TURNED = B_ROW == 1;  // B is the transpose of what lies row by row, which is copied in squares
        constexpr int ALONG = TURNED ? K / WIDTH * WIDTH : 0, ACROSS = TURNED ? N / WIDTH * WIDTH : 0;
        for (int n = 0; n < ACROSS; n += WIDTH)
            for (int k = 0; k < ALONG; k += WIDTH)
                at::vec::transpose_mxn<float, WIDTH, WIDTH>(
                    B + n * B_COLUMN + k, B_COLUMN, copied + k * PADDED + n, PADDED);
        for (int k = 0; k < K; k++) {
            for (int n = k < ALONG ? ACROSS : 0; n < N; n++) copied[k * PADDED + n] = B[k * B_ROW + n * B_COLUMN];
            for (int n = N; n < PADDED; n++) copied[k * PADDED + n] = 0.0f;
        }
        rows = copied;
    }
    for (int v = 0; v + 2 <= VECTORS; v += 2)
        columns<2, M, K, A_ROW, A_COLUMN, ROW, N>(
            A, rows + v * WIDTH, C + v * WIDTH, v + 2 == VECTORS ? LAST : WIDTH);
    if constexpr (VECTORS % 2)
        columns<1, M, K, A_ROW, A_COLUMN, ROW, N>(A, rows + PADDED - WIDTH, C + PADDED - WIDTH, LAST);
}
}  // namespace pyrovae
#endif
"""


def fits(rows: int, inner: int, columns: int) -> bool:
    """Whether a product of these sizes is small."""
    return rows * inner * columns < MULTIPLICATIONS and inner * columns <= FACTOR


VERSION = hashlib.sha256(SOURCE.encode()).hexdigest()[:12]  # what was compiled of other code is not taken from disk


def small_product(a: fx.Node, b: fx.Node) -> fx.Node | None:
    """A node in a graph, where it is being added to, for the product of two; None where there is no code for it."""
    registered = _registered()
    return registered and a.graph.call_function(registered[1], (a, b, VERSION))


@functools.cache
def _registered() -> tuple[torch.library.Library, Any] | None:
    """The operator ``pyrovae::small_product(a, b, version)``, and what holds it.

    None where it cannot be told to torch's compiler, by what are no interfaces that torch promises to keep.
    """
    try:
        lowering = importlib.import_module("torch._inductor.lowering")  # before the next, which imports it
        base: Any = importlib.import_module("torch._inductor.codegen.cpp_template").CppTemplate
    except (ImportError, AttributeError):
        return None
    ir: Any = torch._inductor.ir
    library = torch.library.Library("pyrovae", "FRAGMENT")
    library.define("small_product(Tensor a, Tensor b, str version) -> Tensor")
    library.impl("small_product", lambda a, b, _: torch.mm(a, b), "CPU")
    library._register_fake("small_product", lambda a, b, _: a.new_empty(a.shape[0], b.shape[1]))

    class Product(base):
        def render(self, kernel: Any, template_buffer_node: Any = None, **_: Any) -> str:
            a, b = self.input_nodes
            out = self.output_node if template_buffer_node is None else template_buffer_node
            signature = kernel.def_kernel(inputs={"A": a, "B": b}, outputs={"C": out})
            (m, k), n = a.get_size(), b.get_size()[1]
            constants = ", ".join(str(int(size)) for size in (m, n, k, *a.get_stride(), *b.get_stride()))
            first, second = (f"&({kernel.index(node, [0, 0])})" for node in (a, b))
            call = f"pyrovae::product<{constants}>({first}, {second}, {kernel.args.output(out.get_name())});"
            return f'{self.header().getvalue()}\n{SOURCE}\nextern "C"\n{signature}\n{{\n    {call}\n}}\n'

    @lowering.register_lowering(torch.ops.pyrovae.small_product, type_promotion_kind=None)
    def lower(a: Any, b: Any, _: str) -> Any:
        given = [ir.ExternKernel.realize_input(node) for node in (a, b)]
        for node in given:
            node.freeze_layout()
        layout = ir.FixedLayout(a.get_device(), a.get_dtype(), [a.get_size()[0], b.get_size()[1]])
        return Product("small_product", ir.ExternKernel.unwrap_storage(given), layout, 1).generate().output_node()

    return library, torch.ops.pyrovae.small_product.default
