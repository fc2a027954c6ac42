"""`lightnet.compile` and the passes of ``transform.py``: they compute what the network computes, of any form, on any input."""

import itertools
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from engine_cases import CASES, AtOnce, assert_same, bands_of, conv, graph, images, photographs, random_graph, some, trained

import lightnet as ln
from lightnet import loops, transform
from lightnet.backend import has_numba
from lightnet.engine.network import PASSES
from lightnet.layers import ELU, Add, Concat, Conv2D, ConvTranspose2D, Dense, Flatten, MaxPool2D, ReLU
from lightnet.transform import Activated, for_grey, fuse_activations

needs_numba = pytest.mark.skipif(not has_numba(), reason="without Numba the layers run, one image after the other")
CASES = dict(CASES)
if has_numba():
    from test_fast import SCHEDULES

    from lightnet.engine import runner
    CASES.update({f"fast: {name}": lambda make=make: trained(make()) for name, make in SCHEDULES.items()})


def agree(net, x, threads=1, **message):
    """The compiled network, the Graph, and what that computes in float64."""
    y = ln.compile(net, threads)(x)
    assert_same(y, net.astype("float64").forward(x), str(message))
    assert_same(y, net.forward(x), str(message))


# transform.py -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", CASES)
def test_each_pass_keeps_what_a_graph_computes(case):
    """Alone, and after the others; in float64, where nothing is lost. The graph itself stays as it is."""
    net = CASES[case]().astype("float64")
    arrays, names, x = {**net.params, **net.state}, list(net.nodes), images(net)
    before, wanted, changed = {name: array.copy() for name, array in arrays.items()}, net.forward(x), net
    for change in PASSES:
        for result in (change(net), changed := change(changed)):
            np.testing.assert_allclose(result.forward(x), wanted, rtol=1e-9, atol=1e-12, err_msg=change.__name__)
    assert list(net.nodes) == names and all(np.array_equal(arrays[name], before[name]) for name in before)


def names_gone(change, case):
    """Nodes that a pass leaves out."""
    return [name for name in CASES[case]().nodes if name not in getattr(transform, change)(CASES[case]()).nodes]


def test_passes_change_what_they_may_and_nothing_else():
    assert names_gone("fold_batch_norm", "batch norm in all places") == ["norm", "again", "last"]
    assert names_gone("fold_batch_norm", "batch norm first") == names_gone("fuse_activations", "an ELU of alpha 0.5") == []
    assert names_gone("without_dead_ends", "dropout and dead ends") == ["end", "further"]
    assert names_gone("without_dropout", "dropout and dead ends") == ["drop"]
    assert names_gone("fuse_activations", "padded max pools") == ["elu", "relu"]
    assert list(transform.pool_first(CASES["padded max pools"]()).nodes) == ["a", "pool", "elu", "again", "third", "relu"]
    assert [type(node.layer) for node in fuse_activations(CASES["Flatten and Dense"]()).nodes.values()] == [
        Conv2D, Flatten, Activated, ELU, Dense]


def test_grey_sums_the_weights():
    net = graph(("a", conv(3, 4, 3)), ("relu", ReLU()), ("b", conv(3, 4, 3), "image"), ("sum", Add(), "relu", "b"))
    grey = images(net)[..., :1]
    for whole in (net, fuse_activations(net)):
        assert_same(for_grey(whole).forward(grey), net.forward(np.repeat(grey, 3, axis=3)))
    with pytest.raises(ln.GraphError, match="'sum' reads the image"):
        for_grey(CASES["an Add of the image"]())


# compile: the same numbers ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("numbers, threads", [(1, 1), (1000, 2), (96 * 1024, 3)])
@pytest.mark.parametrize("case", CASES)
def test_compiled_is_the_network(case, numbers, threads, count=4):
    net = CASES[case]()
    with bands_of(numbers):
        agree(net, images(net, count), threads)


@pytest.mark.parametrize("block", range(8))
def test_random_graphs(block, count=50):
    for seed in range(block * count, (block + 1) * count):
        rng = np.random.default_rng(seed)
        net = random_graph(rng)
        with bands_of(some(rng, 1, 2000, 96 * 1024)):
            agree(net, images(net, 2), some(rng, 1, 2, 3), seed=seed)


@needs_numba
def test_every_address_lies_in_its_buffer():
    """What LIGHTNET_CHECK_ADDRESSES looks for; it does find one that does not."""
    with bands_of(1000), pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightnet.engine.encode.CHECK", True)
        for case, threads in itertools.product(CASES, (1, 3)):
            assert ln.compile(CASES[case](), threads).plan
        patch.setattr("lightnet.engine.step.Step.start", lambda self, first: (first - 1, 0))
        with pytest.raises(IndexError, match="addresses"):
            assert ln.compile(CASES["Flatten and Dense"]()).plan


@needs_numba
@pytest.mark.parametrize("numbers", [1000, 8000])
def test_no_unit_writes_or_needs_what_another_computes(numbers):
    """Lines that two bands both compute lie in each thread's own memory, and columns are not read by who has only some."""
    with bands_of(numbers):
        for case, threads in itertools.product(CASES, (1, 4)):
            plan = ln.compile(CASES[case](), threads).plan
            for group, bands in zip(plan.groups, plan.bands):
                written = [step.target.buffer for step in group.steps]
                if group.by_columns:
                    assert not any(place.buffer in written for step in group.steps for place in step.sources), case
                elif bands and not group.taps:
                    for (before, after), step in itertools.product(itertools.pairwise(map(group.ranges, bands)), group.steps):
                        assert before[step][1] <= after[step][0] or step.target.buffer.lines or step is group.steps[-1], case


@needs_numba
def test_the_cases_reach_every_part():
    """Every kind of step, and every way to cut a group into units."""
    from lightnet.engine.products import Blocks, Strassen
    from lightnet.engine.steps import KINDS, Mean
    with bands_of(1000):
        plans = [ln.compile(make(), 2).plan for make in CASES.values()]
    assert {type(step) for plan in plans for step in plan.steps} == {*KINDS, Mean, Blocks, Strassen}
    cuts = {(group.by_columns, bool(group.taps), any(step.target.buffer.lines for step in group.steps))          # lines: a band's
            for plan in plans for group in plan.groups}
    assert cuts == {(True, False, False), (False, False, False), (False, False, True), (False, True, False), (False, True, True)}


def test_a_small_network_is_the_loops():
    """The outside oracle: Python's loops over plain indices, in float64."""
    net = graph(("a", conv(2, 16, 3)), ("elu", ELU()), ("b", conv(16, 16, 3)), ("pool", MaxPool2D(2)),
                ("up", ConvTranspose2D(16, 16, 2, 2, seed=0)), ("both", Concat(), "up", "elu"), shape=(4, 6, 2))
    exact, x = net.astype("float64"), images(net)

    def parameters(name):
        layer = exact.nodes[name].layer
        return layer.params["weight"], layer.params["bias"], layer.stride, layer.padding
    elu = loops.elu(loops.conv2d(x.astype(np.float64), *parameters("a")), 1)
    pool = loops.pool2d(loops.conv2d(elu, *parameters("b")), (2, 2), (2, 2), ((0, 0), (0, 0)), False, loops.largest)
    assert_same(ln.compile(net)(x), np.concatenate([loops.conv_transpose2d(pool, *parameters("up")), elu], axis=3))


@pytest.mark.parametrize("side", [49, 65])
@pytest.mark.parametrize("form", [{}, {"upsample_kernel": 8, "upsample_channels": 16}, {"upsample_kernel": 8}], ids=str)
def test_light_cnn(form, side):
    agree(trained(ln.models.light_cnn(seed=0, **form)), photographs(3, side, side + 1), threads=2)


@pytest.mark.parametrize("fire", ["classic", "custom"])
@pytest.mark.parametrize("bypass", ["none", "simple", "complex"])
def test_squeezenet(bypass, fire):
    for head_relu in (True, False):
        agree(trained(ln.models.squeezenet(bypass, fire, classes=5, head_relu=head_relu, seed=0)), photographs(2, 49, 65))


# compile: the same bits -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", ["a fire module", "columns", "a transposed convolution", "a large transposed convolution",
                                  "an average pool", "light_cnn"])
def test_the_same_bits_on_any_number_of_threads_and_in_any_batch(case):
    net = trained(ln.models.light_cnn(seed=0)) if case == "light_cnn" else CASES[case]()
    x = photographs(7, 49, 49) if case == "light_cnn" else images(net, 7)
    with bands_of(1000):
        alone = np.concatenate([ln.compile(net, 1)(x[n:n + 1]) for n in range(7)])
        for threads in (1, 2, 3):
            predict = ln.compile(net, threads)
            for part in (slice(0, 7), slice(3, 7), slice(2, 3), slice(None, None, -1)):
                assert np.array_equal(predict(x[part]), alone[part]), (threads, part)


@needs_numba
def test_each_thread_has_memory_of_its_own():
    begins, net = [], CASES["a fire module"]()

    def noted(*arguments, work=runner.work):
        program, first, last, image, memory, private, counters, orders, line, turns = arguments
        begins.append((private, memory.size))
        work(*arguments[:-1], 0)
    with bands_of(1000), pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "pool", lambda threads: AtOnce)
        patch.setattr(runner, "work", noted)
        patch.setattr(runner.compiling, "CHECK", False)             # with it one thread does everything
        predict, x = ln.compile(net, 3), images(net)
        assert_same(predict(x), net.forward(x))
        size, private = predict.plan.size, predict.plan.private
    assert private and sorted(begin for begin, _ in begins) == [size, size + private, size + 2 * private]
    assert all(begin + private <= whole for begin, whole in begins)


@needs_numba
def test_an_image_that_is_interrupted_is_left_by_all():
    net = CASES["a fire module"]()
    predict, x = ln.compile(net, 3), images(net)
    wanted, this = predict(x), predict.runner(predict.net, x.shape[1:])

    def interrupted(*arguments, work=runner.work):
        if arguments[-1] == 0:                          # the main thread's
            raise KeyboardInterrupt
        time.sleep(0.05)
        work(*arguments)
    time.sleep(0.05)                                    # nobody stands by any more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "work", interrupted)
        patch.setattr(runner.compiling, "CHECK", False)
        with pytest.raises(KeyboardInterrupt):
            predict(x)
    assert len(this.asked) == 2 and all(job.done() for job in this.asked.values())
    assert np.array_equal(predict(x), wanted)


@needs_numba
def test_who_may_call_a_helper():
    """One that waits, once; not one that is away, at work or called already."""
    from lightnet.engine import standby
    orders, before = standby.orders_for(2), [5] * 8
    job = 1, 2, np.zeros(3, np.float32), np.zeros(4, np.int64)
    for state in (standby.AWAY, standby.BUSY, standby.CALLED):
        orders[8:] = state, *before[1:]
        assert not standby.call(orders, 8, *job) and list(orders[8:]) == [state, *before[1:]]
    orders[8] = standby.WAITING
    assert standby.call(orders, 8, *job)
    assert list(orders[8:13]) == [standby.CALLED, 1, 2, job[2].ctypes.data, job[3].ctypes.data]
    assert not standby.call(orders, 8, *job) and not orders[:8].any()
    orders[8] = standby.BUSY
    assert not standby.is_called(orders, 8, 3) and orders[8] == standby.AWAY


@needs_numba
def test_a_helper_that_stands_by_computes_the_image_that_it_is_called_for():
    """All of it here: nobody else works."""
    from lightnet.engine import standby
    net = CASES["a fire module"]()
    predict, xs = ln.compile(net, 2), [images(net), images(net) + 1]
    plan, this = predict.plan, predict.runner(predict.net, xs[0].shape[1:])
    room, orders, (section,) = this.room(0), standby.orders_for(2), plan.sections
    counters = [np.zeros(16 * len(plan.program.phases), np.int64) for _ in xs]
    flat = [x[0].reshape(-1) for x in xs]
    assert not standby.call(orders, 8, *section, flat[0], counters[0])             # compiled now, and not while the helper waits
    standby.wait_for_helper(orders, 8)
    predict(xs[0])
    wanted = net.forward(xs[1])
    with ThreadPoolExecutor(1) as pool:
        helper = pool.submit(standby.work, plan.program, *section, flat[0], room.memory, plan.size, counters[0],
                             orders, 8, 3 * 10**7)
        while not standby.call(orders, 8, *section, flat[1], counters[1]):
            assert not helper.done()
        standby.wait_for_helper(orders, 8)
        assert_same(room.output[None], wanted)
        while not standby.call(orders, 8, 0, 0, flat[1], counters[1]):     # alive still
            assert not helper.done()


def test_several_python_threads_at_once():
    nets = [trained(ln.models.light_cnn(seed=seed)) for seed in range(2)]
    predicts, jobs = [ln.compile(net, 2) for net in nets], [(k % 2, photographs(1 + k % 3, 33, 33, k)) for k in range(24)]
    wanted = [ln.compile(nets[k], 1)(x) for k, x in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(np.array_equal, pool.map(lambda job: predicts[job[0]](job[1]), jobs), wanted))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_that_was_forked_goes_on():
    """Its pool's threads are not there: it makes others, and leaves no job in a queue."""
    code = """if True:
        import os, signal, numpy as np, lightnet as ln
        from lightnet.kernels.threads import pool
        predict, x = ln.compile(ln.models.light_cnn(seed=0), 2), np.zeros((4, 33, 33, 3), np.float32)
        y = predict(x)
        for _ in range(20):
            predict(x[:1])                              # the helper stands by at the fork, or has just gone
        if not os.fork():
            signal.alarm(20)
            same = np.array_equal(predict(x), y) and np.array_equal(predict(x[:1]), y[:1])
            os._exit(0 if same and len(pool(2)._threads) == 1 and pool(2)._work_queue.qsize() <= 1 else 1)
        print("status", os.waitstatus_to_exitcode(os.wait()[1]))"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "status 0", done.stdout + done.stderr


# compile: what it takes and gives ---------------------------------------------------------------------------------------------

def test_any_layout_and_precision_of_the_input():
    net = ln.models.light_cnn(seed=0)
    x, predict = photographs(2, 49, 49), ln.compile(net, 2)
    y, kept, fixed = predict(x), x.copy(), x.copy()
    fixed.flags.writeable = False
    odd = np.frombuffer(bytearray(b"\0" + x.tobytes()), np.float32, offset=1).reshape(x.shape)          # at an odd address
    for other in (fixed, np.asfortranarray(x), np.repeat(x, 2, axis=2)[:, :, ::2], x[::-1].copy()[::-1], x.astype(np.float64),
                  x.astype(">f4"), odd, x.tolist(), np.broadcast_to(x[:1], x.shape)):
        assert np.array_equal(predict(other)[0], y[0])
    assert np.array_equal(x, kept)


@pytest.mark.parametrize("case", CASES)
def test_nan_comes_out_and_leaves_nothing_behind(case):
    net = CASES[case]()
    x = images(net)
    broken = x.copy()
    broken[0, 3, 2, -1] = np.nan
    with np.errstate(invalid="ignore"), bands_of(1000):
        wanted, predict = np.isnan(net.astype("float64").forward(broken)), ln.compile(net)
        y = predict(x)
        assert wanted.any() and np.isnan(predict(broken))[wanted].all()
        assert np.array_equal(predict(x), y)


def test_grey_images():
    for net in (ln.models.light_cnn(seed=0), CASES["a Concat of the image"](), graph(("a", conv(1, 4, 3)), shape=(6, 7, 1))):
        grey = photographs(3, 17, 18)[..., :1]
        assert_same(ln.compile(net, 2)(grey), net.forward(np.repeat(grey, net.input_shape[2], axis=3)))


def test_sizes_in_turn_and_results_that_stay():
    net = ln.models.light_cnn(seed=0)
    predict, kept = ln.compile(net), []
    for height, width in ((49, 49), (33, 52), (49, 49), (17, 17), (33, 52)):
        x = photographs(2, height, width, height)
        y = predict(x)
        assert_same(y, net.forward(x))
        kept.append((y, y.copy()))
    assert all(np.array_equal(y, copy) for y, copy in kept)


def test_only_some_sizes_keep_their_memory(sizes=12):
    net = CASES["an average pool"]()
    predict = ln.compile(net)
    for _ in range(2):
        for side in range(20, 20 + sizes):
            x = photographs(1, side, side)
            assert_same(predict(x), net.forward(x))
    assert len(predict.runners) < sizes


def test_a_snapshot():
    """Compiling changes nothing in the network, and what changes there later changes nothing that was compiled."""
    for net in (ln.models.light_cnn(seed=0), CASES["batch norm first"](), CASES["an average pool"]().astype("float64")):
        x = photographs(2, 17, 18)
        wanted, arrays = net.forward(x), {**net.params, **net.state}
        predict = ln.compile(net)
        y, grey = predict(x), predict(x[..., :1])
        assert np.array_equal(net.forward(x), wanted)
        for array in arrays.values():
            array += 1
        net.add("more", ReLU(), net.output_name)
        assert np.array_equal(predict(x), y) and np.array_equal(predict(x[..., :1]), grey)


@pytest.mark.parametrize("x, error, message", [
    (np.zeros((2, 49, 49, 3), np.uint8), ln.DtypeError, "uint8"), (np.zeros((2, 49, 49, 1), int), ln.DtypeError, "int64"),
    ("a.png", ln.DtypeError, "floating point"), (None, ln.DtypeError, "floating point"), ([], ln.ShapeError, "expected"),
    (np.zeros((49, 49, 3)), ln.ShapeError, r"x\[None\]"), (np.zeros((2, 49, 49, 4)), ln.ShapeError, "expected"),
    *((np.zeros((1, 224, 224, channels)), ln.ShapeError, "225-228") for channels in (3, 1)),
    (np.zeros((0, 5, 5, 3)), ln.ShapeError, "does not fit"),
])
def test_wrong_input(x, error, message):
    with pytest.raises(error, match=message):
        ln.compile(ln.models.light_cnn(seed=0))(x)


def test_wrong_networks_sizes_and_threads():
    for threads in (0, -1, 1.5, "2"):
        with pytest.raises(ln.ArgumentError, match="at least 1"):
            ln.compile(ln.models.light_cnn(seed=0), threads)
    with pytest.raises(ln.GraphError, match="no nodes"):
        ln.compile(ln.Graph())
    with pytest.raises(ln.ShapeError, match="node 'pool'"):
        ln.compile(graph(("elu", ELU()), ("pool", MaxPool2D(3))))(np.zeros((1, 2, 2, 3)))


def test_nothing():
    """No images, and images of no pixels."""
    for height, width in ((0, 5), (5, 0)):
        assert ln.compile(graph(("elu", ELU()), ("relu", ReLU())))(np.zeros((1, height, width, 3))).shape == (1, height, width, 3)
    for net, shape in ((ln.models.light_cnn(seed=0), (0, 49, 49, 3)), (CASES["an average pool"](), (0, 6, 7, 3))):
        for channels in (3, 1):
            y = ln.compile(net, 2)(np.zeros((*shape[:3], channels)))
            assert y.shape == net.forward(np.zeros(shape)).shape and y.dtype == np.float32


def test_the_plan_names_every_step():
    for net in (ln.models.light_cnn(seed=0), *(make() for make in CASES.values())):
        predict = ln.compile(net, 2)
        named = {line.split()[0].rstrip(":") for line in str(predict.plan).splitlines() if line}
        nodes = {name for name, node in predict.net.nodes.items() if type(node.layer) is not Concat}       # one may be no step
        assert nodes <= named and (not has_numba() or named >= {step.name for step in predict.plan.steps})
