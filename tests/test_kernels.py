"""The kernels alone: the product through tables, Winograd's method, ELU, the pool of memory, and how they are compiled.

Where a test takes small numbers for arguments, that is for ``test_planted_bugs.py``, which runs it without the compiler.
"""

import contextlib
import functools
import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from lightnet import loops
from lightnet.backend import run_backward, run_forward
from lightnet.kernels import (
    compiling,
    elementwise,
    exponential,
    memory,
    normalization,
    packing,
    product,
    strassen,
    tables,
    tile,
    vector,
)
from lightnet.kernels.images import Flat, Images, images, is_regular, regular
from lightnet.kernels.multiply import multiply
from lightnet.kernels.product import Part, Tables, one_pass
from lightnet.kernels.tile import ADD, ELU, RELU, STORE
from lightnet.kernels.vector import LANES
from lightnet.layers import Conv2D

INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"            # then LLVM's IR cannot run


def python(code, **environment):
    """Run code in a process of its own: the kernels' settings are read when they are imported."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# the product through tables ---------------------------------------------------------------------------------------------------

def offsets(rng, count, high):
    """Places in any order, some of them twice."""
    return rng.integers(0, high, count)


def random_tables(rng, rows=None, packed=0):
    """Tables of no convolution at all: every offset is random, only ``out``'s places are distinct. Steps are those that the tile
    knows, or random ones."""
    rows, panels, segments = rows or int(rng.integers(1, 41)), int(rng.integers(1, 4)), int(rng.integers(1, 5))
    pitch = panels * LANES + int(rng.integers(0, 5))
    table = offsets(rng, rows, 50)
    if rng.random() < 0.5:
        table = np.arange(rows) + rows // 2 * (np.arange(rows) > rows // 2)         # two runs of neighbours, as channels are
    step_a, step_b = rng.permutation([tile.PIXELS, tile.PACKED, rng.integers(1, 40, 2)])[0]
    return Tables(rows=table, segments_a=offsets(rng, segments, 70), step_a=int(step_a),
                  panels_b=offsets(rng, panels, 60), segments_b=offsets(rng, segments, 90), step_b=int(step_b),
                  length=int(rng.integers(1, 12)), rows_out=rng.permutation(rows) * pitch,
                  panels_out=rng.permutation(panels) * LANES, block=int(rng.integers(1, segments + 1)), packed=packed)


def operand(rng, N, size):
    """An array for N images, of which each needs ``size`` numbers, and not one number more."""
    stride = int(rng.integers(0, 30))
    return Flat(rng.standard_normal(size + (N - 1) * stride, dtype=np.float32), stride)


def random_operands(rng, table, N, summed):
    """a, b, out and bias that just hold what the tables reach."""
    last = table.length - 1
    a = operand(rng, N, table.rows.max() + table.segments_a.max() + max(0, last * table.step_a) + 1)
    b = operand(rng, N, table.panels_b.max() + table.segments_b.max() + last * table.step_b + LANES)
    size = table.rows_out.max() + table.panels_out.max() + LANES
    stride = 0 if summed else int(size + rng.integers(0, 9))
    out = Flat(rng.standard_normal(size + (N - 1) * stride, dtype=np.float32), stride)
    bias = packing.bias_panels(rng.standard_normal(len(table.panels_b) * LANES, dtype=np.float32))
    return a, b, out, packing.no_bias(bias.size - LANES) if table.packed else bias      # packed sums have no bias


def expected(table, N, a, b, out, bias, finish):
    """The equation in ``product.py``, in float64, and with it every number of ``out`` that it leaves alone."""
    result = out.memory.astype(np.float64)
    k = np.arange(table.length)
    at_a = table.segments_a[:, None] + k * table.step_a                             # (S, K)
    at_b = table.segments_b[:, None] + k * table.step_b
    for n, p, m in np.ndindex(N, len(table.panels_b), len(table.rows)):
        left = a.memory[n * a.stride + table.rows[m] + at_a].astype(np.float64)
        right = b.memory[n * b.stride + table.panels_b[p] + at_b[..., None] + np.arange(LANES)]             # (S, K, 16)
        place = n * out.stride + table.rows_out[m] + table.panels_out[p]
        sums = np.einsum("sk,skj->j", left, right) + bias[p * LANES:(p + 1) * LANES]
        if finish == ADD or (n > 0 and out.stride == 0):
            sums = sums + result[place:place + LANES]
        result[place:place + LANES] = np.where(sums > 0, sums, {ELU: np.expm1(sums), RELU: 0}.get(finish, sums))
    return result


def agree_on(table, N, finish, rng, summed=False):
    a, b, out, bias = random_operands(rng, table, N, summed)
    wanted = expected(table, N, a, b, out, bias, finish)
    multiply(table, N, a, b, out, bias, finish, np.empty(table.scratch, np.float32))
    np.testing.assert_allclose(out.memory, wanted, rtol=1e-4, atol=1e-4, err_msg=f"finish {finish}, {N} images, {table}")


@pytest.mark.parametrize("packed", [0, 1])
@pytest.mark.parametrize("finish", [STORE, ADD])
def test_multiply_is_its_equation(finish, packed, seeds=40):
    """Of images each for itself, and summed over images."""
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        agree_on(random_tables(rng, packed=packed), int(rng.integers(1, 4)), finish, rng, summed=seed % 2 == 1)


@pytest.mark.parametrize("packed", [0, 1])
@pytest.mark.parametrize("finish", [ELU, RELU])
def test_multiply_with_an_activation(finish, packed, seeds=30):
    """Of whole sums: all segments in one pass."""
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        table = random_tables(rng, packed=packed)
        agree_on(table._replace(block=len(table.segments_a)), int(rng.integers(1, 4)), finish, rng)


@pytest.mark.parametrize("packed", [0, 1])
def test_multiply_of_every_height(packed, highest=40):
    """Tiles of one row to the highest, and what is left over of a block of them."""
    for rows in [*range(1, highest + 1), 12 * tile.ROWS + 1, 30 * tile.ROWS - 1][:highest + 2]:
        agree_on(random_tables(np.random.default_rng(rows), rows, packed), 1, STORE, np.random.default_rng(rows))


@pytest.mark.parametrize("rows", [tile.ROWS, None])
@pytest.mark.parametrize("biased", [True, False])
def test_several_products_in_one_pass(biased, rows):
    """As one after the other, each at its own begin; the bias for all or none."""
    rng = np.random.default_rng(0)
    table = random_tables(rng, rows)
    a, b, out, bias = random_operands(rng, table, 1, False)
    several = [np.tile(x.memory, 3) for x in (a, b, out)]
    for n, wanted in enumerate(several[2].reshape(3, -1)):
        several[0].reshape(3, -1)[n] *= n + 1
        moved = Flat(several[0].reshape(3, -1)[n], 0)
        wanted[:] = expected(table, 1, moved, b, out, bias if biased else 0 * bias, STORE)
    computed = np.tile(out.memory, 3)
    operands = [Flat(memory, x.memory.size, 0) for memory, x in zip((*several[:2], computed), (a, b, out))]
    one_pass(table, Part(0, len(table.segments_a), 3, biased, STORE), *operands, bias)
    np.testing.assert_allclose(computed, several[2], rtol=1e-4, atol=1e-4)


def test_steps_may_go_backwards():
    table = random_tables(np.random.default_rng(0))._replace(step_a=-2, length=3)
    table = table._replace(rows=table.rows + 4)
    agree_on(table, 2, STORE, np.random.default_rng(0))


def test_plain_and_vector_tiles_agree():
    """The tile that is read, and the one that runs."""
    rng = np.random.default_rng(0)
    table = random_tables(rng, rows=tile.ROWS)
    a, b, out, bias = random_operands(rng, table, 1, False)
    wanted = expected(table, 1, a, b, out, bias, STORE)
    for p, (at_b, at_out) in enumerate(zip(table.panels_b, table.panels_out)):         # one at a time: there is no second
        tile.plain_tile(tile.ROWS, a.memory, 0, table.rows, 0, table.segments_a, table.step_a, b.memory, at_b,
                        table.segments_b, table.step_b, 0, len(table.segments_a), table.length,
                        out.memory, at_out, table.rows_out, bias, p * LANES, STORE)
    np.testing.assert_allclose(out.memory, wanted, rtol=1e-4, atol=1e-4)


def test_packing_is_the_order_of_the_panels():
    for F in (1, 15, 16, 17, 48):
        matrix = np.random.default_rng(F).standard_normal((5, F), dtype=np.float32)
        flat = packing.panels(matrix).reshape(-1, 5, LANES)
        for f in range(F):
            assert np.array_equal(flat[f // LANES, :, f % LANES], matrix[:, f])
        assert np.count_nonzero(flat) == matrix.size                            # columns that are not there are zero
        bias = packing.bias_panels(matrix[0], 2)
        assert np.array_equal(bias.reshape(-1, LANES)[-1], np.zeros(LANES)) and bias.size == 2 * packing.no_bias(F).size - LANES
        assert np.array_equal(bias[flat.shape[0] * LANES:][:F], matrix[0])


def test_slices_of_channels_are_images():
    """``images`` finds every number of a slice where its docstring says."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 9), dtype=np.float32)
    for part in (x, x[..., 2:7], x[1:, ..., 8:], x[:, :, :, :1]):
        assert is_regular(part) and regular(part) is part
        view = images(part)
        for n, i, j, c in np.ndindex(part.shape):
            assert view.memory[n * view.stride + i * view.row + j * view.pitch + c] == part[n, i, j, c]
    fixed = x.copy()
    fixed.flags.writeable = False
    for part in (x[:, ::2], x[:, :, ::-1], x.swapaxes(1, 2), x[..., ::2], x[:, :, :3], fixed, x.astype(np.float64),
                 np.broadcast_to(x[:1], x.shape)):
        copy = regular(part)
        assert copy is not part and is_regular(copy) and np.array_equal(copy, part.astype(np.float32))


# Winograd's method ------------------------------------------------------------------------------------------------------------

def winograd_layer(rng, C=16, F=16, padding=1):
    layer = Conv2D(C, F, 3, padding=padding, seed=rng)
    layer.params["bias"][:] = rng.standard_normal(F)
    return layer


def assert_near(a, b, name):
    """Within 1e-4 of the largest: the method's own numbers cost a digit of float32."""
    assert a.shape == b.shape and a.dtype == np.float32, name
    assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max(), name


def test_winograd_forward_is_the_loops():
    rng = np.random.default_rng(0)
    layer, x = winograd_layer(rng), rng.standard_normal((1, 5, 3, 16), dtype=np.float32)
    exact = layer.astype("float64")
    wanted = loops.conv2d(x.astype(np.float64), exact.params["weight"], exact.params["bias"], (1, 1), exact.padding)
    assert_near(run_forward(layer, x), wanted, "y")


@pytest.mark.parametrize("shape, F, padding", [
    ((1, 4, 4, 16), 16, 1), ((2, 7, 5, 16), 32, 1), ((3, 3, 9, 32), 16, 0), ((1, 3, 3, 16), 16, 0), ((2, 6, 10, 16), 16, (2, 0)),
    ((1, 13, 17, 16), 48, ((0, 1), (2, 1))), ((9, 14, 14, 32), 32, 1), ((1, 1, 1, 16), 16, 1),
])
def test_winograd_is_the_layer_in_float64(shape, F, padding):
    rng = np.random.default_rng(0)
    layer, x = winograd_layer(rng, shape[-1], F, padding), rng.standard_normal(shape, dtype=np.float32)
    exact, y = layer.astype("float64"), run_forward(layer, x, training=True)
    assert_near(y, exact.forward(x.astype(np.float64), training=True), "y")
    dy = rng.standard_normal(y.shape, dtype=np.float32)
    assert_near(run_backward(layer, dy), exact.backward(dy.astype(np.float64)), "dx")
    for key in exact.grads:
        assert_near(layer.grads[key], exact.grads[key], key)


@pytest.mark.parametrize("side", [4, 6, 9])
@pytest.mark.parametrize("C, F", [(16, 32), (5, 7)])                # Winograd's method, and the tile
def test_backward_is_the_adjoint(C, F, side):
    """<conv(x), y> = <x, conv^T(y)> = <w, dw>, without the bias."""
    rng = np.random.default_rng(0)
    layer, x = Conv2D(C, F, 3, padding=1, seed=rng), rng.standard_normal((2, side, side + 1, C), dtype=np.float32)
    y = run_forward(layer, x, training=True)
    dy = rng.standard_normal(y.shape, dtype=np.float32)
    dx = run_backward(layer, dy)

    def dot(a, b):
        return np.vdot(a.astype(np.float64), b)
    small = 1e-5 * np.linalg.norm(y) * np.linalg.norm(dy)
    assert abs(dot(y, dy) - dot(x, dx)) <= small
    assert abs(dot(y, dy) - dot(layer.params["weight"], layer.grads["weight"])) <= small


# ELU --------------------------------------------------------------------------------------------------------------------------

ELUS = [exponential.plain_elu] if INTERPRETED or exponential.elu is exponential.plain_elu else [exponential.ir_elu,
                                                                                              exponential.plain_elu]


@pytest.mark.parametrize("elu", ELUS, ids=lambda elu: elu.__name__)
@pytest.mark.parametrize("alpha", [1, 0.3])
def test_elu_is_precise(elu, alpha, count=20_000):
    """Within a few units in the last place of float64's expm1, whatever the size of x."""
    x = np.float32(np.concatenate([-np.geomspace(1e-30, 100, count), np.geomspace(1e-30, 100, 50)]))
    y, alpha = x.copy(), np.float32(alpha)
    elu(y, 0, y.size, alpha)
    exact = np.where(x > 0, x, np.float64(alpha) * np.expm1(x.astype(np.float64)))
    np.testing.assert_allclose(y, exact, rtol=6e-7)


@pytest.mark.parametrize("elu", ELUS, ids=lambda elu: elu.__name__)
def test_elu_of_special_numbers_and_of_a_part(elu):
    special = np.tile(np.float32([0, -0.0, 3, np.inf, -np.inf, np.nan, -1e-42, 1e38, -1e38, -0.3, -1.7]), 5)
    whole = special.copy()
    elu(whole, 0, whole.size, np.float32(1))
    for start, stop in ((0, 45), (1, 40), (3, 5), (4, 4), (9, 25)):         # sixteen at a time, and what is left over
        y = special.copy()
        elu(y, start, stop, np.float32(1))
        wanted = special.copy()
        wanted[start:stop] = np.where(special > 0, special, np.expm1(np.minimum(special, 0)))[start:stop]
        np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-40)            # NaN where NaN is wanted, and nowhere else
        np.testing.assert_array_equal(y[start:stop], whole[start:stop])         # whoever computes a number: the same bits


# passes over pixels -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("C", [1, 15, 16, 48, 100, 112, 128, 144, 272, 279])
def test_passes_over_pixels_are_their_equations(C):
    """Of slices of wider images, for channels in sixteens, in several at a time, and what is left of them."""
    rng = np.random.default_rng(C)
    x, dy = (rng.standard_normal((2, 3, 5, C + 3), dtype=np.float32)[..., 1:C + 1] for _ in range(2))
    u, v, w = rng.standard_normal((3, C), dtype=np.float32)
    sums, dots = np.empty((2, 2, C))
    near = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)

    near(elementwise.column_sums(images(x)), x.sum((0, 1, 2)))
    dx = dy.copy()
    near(elementwise.elu_slope_sums(images(x), images(dx), np.float32(0.3), images(dx)),
         (dy * np.where(x > 0, 1, x + 0.3)).sum((0, 1, 2)))
    near(dx, dy * np.where(x > 0, 1, x + 0.3))
    normalization.moments(images(x), sums, dots)
    near(sums, x.mean((1, 2)))
    near(dots, np.square(x - x.mean((1, 2), keepdims=True)).sum((1, 2)))
    normalization.products(images(x), images(dy), u, sums, dots)
    near(sums, dy.sum((1, 2)))
    near(dots, (dy * (x - u)).sum((1, 2)))
    y = np.full((2, 3, 5, C + 1), 7, np.float32)
    normalization.affine(images(x), u, v, images(y[..., :C]))
    near(y[..., :C], u * x + v)
    assert (y[..., C] == 7).all()
    dx = dy.copy()
    normalization.affine_of_two(images(dx), u, images(x), v, w)
    near(dx, u * dy + v * x + w)


# Strassen's method ------------------------------------------------------------------------------------------------------------

def test_strassens_matrices_are_a_product_of_blocks():
    """What seven products add up to: each block of C its two, and no other."""
    found = np.einsum("cp,pa,pb->cab", strassen.U, strassen.T, strassen.R).reshape([2] * 6)
    i, j, k = np.indices((2, 2, 2))
    wanted = np.zeros([2] * 6)
    wanted[i, j, i, k, k, j] = 1
    assert (found == wanted).all()


@pytest.mark.parametrize("size, F", [((2, 2, 64), 32), ((4, 6, 128), 96), ((14, 10, 64), 64)])
def test_strassen_is_exact_on_integers(size, F):
    """A transposed convolution of 1 x 2 taps, as sums of products of small integers: every digit is right."""
    rng, (H, W, C), n = np.random.default_rng(F), size, F // 2
    x, weight, bias = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((H, W, C), (C, 2 * F), F + LANES))
    bias[F:] = 0
    wide, y = np.zeros((H, W + 1, C + 5), np.float32), np.full((H, W, 2, F + 3), -99, np.float32)
    wide[:, :W, :C] = x
    (row, pitch), pixels = (side // 4 for side in wide.strides[:2]), H // 2 * (W // 2)
    V, P = (np.full(50 * strassen.apart(pixels * side), np.nan, np.float32) for side in (C // 4, n))
    step, memory = strassen.apart(pixels * C // 4), wide.reshape(-1)
    for first, last in (0, 1), (1, H // 2):                         # in two bands of lines
        lines = Images(memory[first * row:], 0, row, pitch, 1, last - first, W, C)
        strassen.split(lines, H // 2 * row, W // 2 * pitch, V, first * W // 2 * C // 4, step)
    strassen.products(V, 0, step, pixels, C // 4, strassen.packed(weight, F), 0, n, P, 0, bias)
    row, pitch, tap = (side // 4 for side in y.strides[:3])
    strassen.join(P, 0, H // 2, W // 2, n, bias, y.reshape(-1), 0, row, pitch, H // 2 * row, W // 2 * pitch, tap)
    np.testing.assert_array_equal(y[..., :F], (x @ weight).reshape(H, W, 2, F) + bias[:F])
    assert (y[..., F:] == -99).all()


# the pool of memory -----------------------------------------------------------------------------------------------------------

LARGE = (memory.SMALL // 4,)                            # floats of the smallest array that the pool serves


@contextlib.contextmanager
def fresh_pool():
    """The pool as if new: what other tests left behind is collected before, and put aside."""
    gc.collect()
    before = dict(vars(memory.pool))
    memory.pool.__init__()
    try:
        yield memory.pool
    finally:
        gc.collect()
        vars(memory.pool).update(before)


def free_bytes(pool):
    pool.collect()
    return sum(block.size for blocks in pool.free.values() for block in blocks)


def address(x):
    return x.__array_interface__["data"][0]


def test_memory_is_used_again_when_the_last_view_is_gone():
    with fresh_pool():
        x = memory.empty(LARGE)
        x[:], place = 7, address(x)
        view = x[10:].reshape(2, -1)[1]
        del x
        y = memory.empty(LARGE)
        y[:] = 0
        assert address(y) != place and (view == 7).all()            # a view keeps it
        del view
        assert address(memory.empty(LARGE)) == place


def test_memory_of_another_size_comes_from_elsewhere():
    """A block serves what is a little smaller, never what is larger or much smaller."""
    with fresh_pool():
        place = address(memory.empty((10 * LARGE[0],)))
        assert address(memory.empty((8 * LARGE[0],))) == place
        assert address(memory.empty((11 * LARGE[0],))) != place
        assert address(memory.empty((2 * LARGE[0],))) != place


def test_memory_that_there_is_not_leaves_no_trace(monkeypatch):
    def none(size, number):
        raise OSError("Cannot allocate memory")
    with fresh_pool() as pool:
        with monkeypatch.context() as patched, pytest.raises(OSError, match="Cannot allocate"):
            patched.setattr(memory, "Block", none)
            memory.empty(LARGE)
        assert memory.empty(LARGE).shape == LARGE and pool.made == 1


def test_arrays_are_as_told():
    with fresh_pool():
        for shape, dtype in (((3, 40, 50, 7), np.float32), ((100, 1000), np.uint8), ((200, 300), np.float64)):
            x = memory.empty(shape, dtype)
            x[:] = 1
            assert x.shape == shape and x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable and x.sum() == x.size


def test_several_arrays_share_a_piece_and_no_number():
    with fresh_pool() as pool:
        arrays = memory.several(LARGE[0], 1, 17, 0, 5)
        for k, x in enumerate(arrays):
            x[:] = k
        assert [x.tolist() for x in arrays] == [[k] * size for k, size in enumerate((LARGE[0], 1, 17, 0, 5))]
        assert all(address(x) % memory.LINE == 0 for x in arrays) and pool.made == 1


def test_small_arrays_are_numpys():
    with fresh_pool() as pool:
        small = memory.empty((LARGE[0] - 1,))
        assert address(small) % memory.LINE == 0 and memory.empty((0, 5)).shape == (0, 5) and memory.empty(()).shape == ()
        assert pool.total == pool.used == 0


def test_the_pool_keeps_account():
    size = 4 * LARGE[0]
    with fresh_pool() as pool:
        a, b = memory.empty(LARGE), memory.empty(LARGE)
        assert (pool.used, pool.peak, pool.total) == (2 * size, 2 * size, 2 * size)
        del a
        pool.collect()
        assert (pool.used, pool.peak, pool.total) == (size, 2 * size, 2 * size)
        c = memory.empty(LARGE)
        assert (pool.used, pool.peak, pool.total) == (2 * size, 2 * size, 2 * size)
        del b, c
        assert free_bytes(pool) == pool.total
        assert (pool.used, pool.peak, pool.total) == (0, 2 * size, 2 * size)


def test_the_pool_lets_go_of_sizes_that_nobody_asks_for():
    """It holds at most 1.5 times what was in use at once."""
    with fresh_pool() as pool:
        for factor in (1, 2, 4, 8, 16, 32):
            memory.empty((factor * LARGE[0],))
            assert pool.total <= memory.SLACK * pool.peak
        assert free_bytes(pool) == pool.total and pool.used == 0


INTERRUPTED = """
import signal
from lightnet.kernels import memory
presses = 0
def press(*_):
    global presses
    presses += 1
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, press)                                # a timer presses Ctrl-C
for earlier in range(300):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while presses == earlier:                                   # the timer's end would come before its signal
            memory.empty((memory.SMALL,))
        raise SystemExit("Ctrl-C was swallowed")
    except KeyboardInterrupt:
        pass
print("heard")
"""


def test_ctrl_c_is_heard_wherever_it_comes():
    """As in a notebook: each of 300 ends a loop at any place of the pool's code, and the next loop runs."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("heard\n", "")


def test_threads_never_share_memory(threads=8, rounds=150):
    """Each fills its arrays with its own number, and finds it there later."""
    wrong = []

    def work(number):
        rng, kept = np.random.default_rng(number), []
        for _ in range(rounds):
            x = memory.empty((int(rng.integers(1, 4)) * LARGE[0],))
            x[:] = number
            kept.append(x[rng.integers(0, 100):])
            if len(kept) > 3:
                wrong.extend([number] * int((kept.pop(int(rng.integers(0, 3))) != number).any()))
        wrong.extend([number] * sum(int((x != number).any()) for x in kept))
    with fresh_pool() as pool:
        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not wrong
        assert free_bytes(pool) == pool.total and pool.used == 0


# how they are compiled --------------------------------------------------------------------------------------------------------

WRONG_TABLES = """
import numpy as np
from test_kernels import random_operands, random_tables
from lightnet.kernels.multiply import multiply
rng, changes = np.random.default_rng(0), []
for name in ("rows", "segments_a", "panels_b", "segments_b", "rows_out", "panels_out"):
    for by in (1, -10**6):
        changes.append((name, by))
for packed in (0, 1):
    right = random_tables(rng, packed=packed)
    for name, by in [(None, 0), *changes, ("length", 1), ("step_a", 1), ("step_b", 1)]:
        table = right._replace(length=2 if name and name.startswith("step") else right.length)
        a, b, out, bias = random_operands(rng, table, 2, False)
        if name in ("length", "step_a", "step_b"):
            table = table._replace(**{name: getattr(table, name) + by})
        elif name:
            moved = getattr(table, name).copy()
            moved[moved.argmax()] += by
            table = table._replace(**{name: moved})
        before, scratch = out.memory.copy(), np.empty(table.scratch, np.float32)
        try:
            multiply(table, 2, a, b, out, bias, 0, scratch)
            assert name is None, f"{name} {by:+}: not noticed"
        except IndexError:
            assert name, "the right table is refused"
            assert np.array_equal(before, out.memory), f"{name}: written in spite of it"
print("checked")
"""

RIGHT_TABLES = """
import numpy as np
from test_fast import agree, random_layer
for kind in ("Conv2D", "ConvTranspose2D"):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        layer, (shape,) = random_layer(kind, rng)
        agree(layer, rng.standard_normal((1, *shape[1:]), dtype=np.float32))
print("checked")
"""

HERE = os.path.dirname(__file__)


def test_wrong_addresses_are_found():
    """One number beyond a buffer, or before it: an IndexError before anything is written."""
    assert "checked" in python(WRONG_TABLES, LIGHTNET_CHECK_ADDRESSES="1", LIGHTNET_KERNELS="plain", PYTHONPATH=path())


def test_the_layers_addresses_are_right():
    """Those of convolutions of random kernels, strides and paddings. Not compiled: that would take longer than they run."""
    assert "checked" in python(RIGHT_TABLES, LIGHTNET_CHECK_ADDRESSES="1", LIGHTNET_KERNELS="plain", NUMBA_DISABLE_JIT="1",
                               PYTHONPATH=path())


def path():
    """Where this process finds lightnet and the tests."""
    return os.pathsep.join([HERE, os.path.dirname(os.path.dirname(product.__file__)).removesuffix("lightnet")])


PLAIN_STEP = """
import numpy as np
import lightnet as ln
from lightnet.kernels import tile, exponential
assert tile.tiles is tile.plain_tiles and exponential.elu is exponential.plain_elu
x, results = np.random.default_rng(0).standard_normal((2, 33, 33, 3)).astype(np.float32), []
for name in ("numpy", "numba"):
    net = ln.models.light_cnn(seed=0)
    with ln.backend(name):
        _, dlogits = ln.softmax_cross_entropy(net.forward(x, training=True), [0, 1])
        dx = net.backward(dlogits)
    results.append({**net.grads, "dx": dx})
for name, right in results[0].items():
    node = name.split(".")[0]           # a bias before batch norm has a gradient of 0, and so nothing but rounding errors
    largest = max(np.abs(array).max() for other, array in results[0].items() if other.split(".")[0] == node)
    difference = np.abs(results[1][name] - right).max() / largest
    assert difference <= 1e-4, (name, difference)
print("agreed on", len(results[0]))
"""


@pytest.mark.slow
def test_training_step_on_plain_kernels():
    """What runs where there is no vector multiply-add: gradients within 1e-4 of the largest of each array."""
    assert "agreed" in python(PLAIN_STEP, LIGHTNET_KERNELS="plain", PYTHONPATH=path())


OTHER_TILE = """
import numpy as np
from test_kernels import agree_on, random_tables
from lightnet.kernels import sandwich, tile, vector
assert (tile.ROWS, tile.PANELS, sandwich.WIDTH) == (6, 1, 8) and tile.tiles is tile.ir_tiles, vector.features()
for rows in (*range(1, 14), 12 * tile.ROWS + 1):
    rng = np.random.default_rng(rows)
    agree_on(random_tables(rng, rows), 2, tile.STORE, rng)
print("agreed")
"""


@pytest.mark.skipif(not (vector.HAS_IR and vector.has_avx512()), reason="all other tests run on the tile of AVX2, or on none")
def test_the_tile_of_avx2_on_a_processor_with_more():
    assert "agreed" in python(OTHER_TILE, NUMBA_CPU_NAME="x86-64-v3", NUMBA_CPU_FEATURES="+avx2,+fma", PYTHONPATH=path())


SMALL_LAYER = """
import numpy as np
from lightnet.backend import run_forward
from lightnet.kernels import compiling
from lightnet.layers import ReLU
x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 2, 2, 3)
np.testing.assert_array_equal(run_forward(ReLU(), x), ReLU().forward(x))
print("folder:", compiling.cache_folder())
"""


CALLERS = """
import numpy as np
from lightnet.kernels.compiling import compiled, compiled_once, inner

@compiled
def fill(x, value):
    if value < 0:
        raise IndexError("negative")
    for k in range(len(x)):
        x[k] = value

filled = compiled_once(fill, np.empty(0), 0)

@inner
def fill_most(x, value):
    filled(x[1:], value)

@compiled
def fill_twice(x, value):
    filled(x, value)
    fill_most(x, value + 1)
"""
CALLS = """
import numpy as np
from callers import fill_most, fill_twice
x = np.zeros(3)
fill_twice(x, 5)
print(x.tolist(), "from the cache:", sum(fill_twice.stats.cache_hits.values()))
for function, error in ((fill_twice, IndexError), (fill_most, TypeError)):
    try:
        function(x, -1)
    except error as raised:
        print(raised)
code = "".join(fill_twice.inspect_llvm().values()).splitlines()
print("by its name:", any(line.startswith("declare") and "lightnet.fill" in line for line in code))
"""


@pytest.mark.skipif(INTERPRETED or compiling.PLAIN, reason="then all are called as any function")
def test_functions_that_are_compiled_once_or_that_python_cannot_call(tmp_path):
    """In a first process, which compiles them, and in a second one, which finds them on disk."""
    (tmp_path / "callers.py").write_text(CALLERS)
    for found in (0, 1):
        printed = python(CALLS, LIGHTNET_CACHE=str(tmp_path / "cache"), PYTHONPATH=os.pathsep.join((str(tmp_path), path())))
        assert printed.splitlines() == [f"[5.0, 6.0, 6.0] from the cache: {found}", "negative",
                                        "callers.fill_most can be called from compiled functions alone",
                                        f"by its name: {not found}"]             # code from the disk cannot be looked at


def test_where_no_cache_can_be_written_it_compiles_anew(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert "folder: None" in python(SMALL_LAYER, LIGHTNET_CACHE=str(tmp_path / "file" / "cache"), PYTHONPATH=path())


def test_old_cache_folders_are_forgotten(tmp_path):
    """But neither young ones, nor what is none."""
    names = {"new": "0" * 16, "young": "1" * 16, "old": "a" * 16, "somebody's": "my-own-folder"}
    for name, folder in names.items():
        (tmp_path / folder / "x").mkdir(parents=True)
        age = 0 if name in ("new", "young") else 31 * 86400
        os.utime(tmp_path / folder, (time.time() - age,) * 2)
    compiling.forget_old(tmp_path / names["new"])
    assert {one.name for one in tmp_path.iterdir()} == {names[name] for name in ("new", "young", "somebody's")}


def test_the_cache_folder_is_named_after_the_sources(tmp_path, monkeypatch):
    """Another source in any of the rooms, or another file, is another folder; the same sources elsewhere are the same."""
    names = [compiling.digest()]
    for source in (path for room in ("kernels", "fast", "engine") for path in (compiling.PACKAGE / room).glob("*.py")):
        copy = tmp_path / source.relative_to(compiling.PACKAGE)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(source.read_bytes())           # without its mode: an installation may be read-only
    monkeypatch.setattr(compiling, "PACKAGE", tmp_path)
    assert compiling.digest() == names[0]
    for changed in ("kernels/tables.py", "fast/merge.py", "engine/program.py", "kernels/another.py"):
        with open(tmp_path / changed, "a") as file:
            file.write("# changed\n")
        names.append(compiling.digest())
    monkeypatch.setattr(compiling, "CHECK", not compiling.CHECK)
    names.append(compiling.digest())
    assert len(set(names)) == len(names)


def test_tables_of_a_convolution_by_hand():
    """3x3 images of 2 channels, a 2x2 kernel with stride 1: four windows of two runs of four numbers."""
    table = tables.convolution(3, 2, 2, (2, 2), (1, 1), (2, 2), 16, 16)
    assert table.rows.tolist() == [0, 2, 6, 8] and table.segments_a.tolist() == [0, 6] and table.length == 4
    wide = tables.convolution(3, 5, 2, (2, 2), (1, 1), (2, 2), 16, 16)          # of a slice: four runs of two
    assert wide.rows.tolist() == [0, 5, 15, 20] and wide.segments_a.tolist() == [0, 5, 15, 20] and wide.length == 2


@pytest.mark.parametrize("kernels", ["", "plain"])
def test_no_two_compiled_functions_have_the_same_name(kernels):
    """Else what one process has compiled could be taken for what another has, see `compiling.name_apart`."""
    python("""
import gc
from collections import Counter
from numba.core.dispatcher import Dispatcher
import lightnet as ln
ln.compile(ln.models.light_cnn())
import lightnet.fast
names = Counter(f"{function.py_func.__module__}.{function.py_func.__qualname__}" for function in gc.get_objects()
                if isinstance(function, Dispatcher) and function.py_func.__module__.startswith("lightnet."))
assert len(names) > 100 and max(names.values()) == 1, names.most_common(3)
""", LIGHTNET_KERNELS=kernels)
