"""A compiled network: what `lightnet.compile` returns."""

import itertools
import threading

import numpy as np

from ..backend import num_threads
from ..errors import ShapeError
from ..kernels import memory
from ..kernels.threads import pool
from ..transform import fold_batch_norm, for_grey, fuse_activations, pool_first, without_dropout
from .plan import Plan
from .program import LINE, run
from .steps import Foreign


class Network:
    def __init__(self, net, threads=None):
        self.net = fuse_activations(pool_first(without_dropout(fold_batch_norm(net.astype("float32")))))
        self.threads, self.plans, self.lock = threads, {}, threading.Lock()

    def __call__(self, x):
        x = np.asarray(x)
        if x.ndim == 4 and x.shape[-1] == 1 and self.net.input_shape[-1] != 1:
            net = self.grey
        else:
            net = self.net
        x = net.admit(x)
        x = np.require(x, np.float32, "CW") if x.flags.c_contiguous else np.ascontiguousarray(x)
        with self.lock:
            plan = self.plan_for(net, x.shape[1:])
            return plan.run(x, self.threads or num_threads())

    def plan_for(self, net, shape):
        if shape not in self.plans:
            self.plans[shape] = Running(Plan(net, shape, self.threads or num_threads()))
        return self.plans[shape]

    @property
    def grey(self):
        if not hasattr(self, "_grey"):
            self._grey = for_grey(self.net)
        return self._grey

    @property
    def plan(self):
        H, W, C = self.net.input_shape
        return self.plan_for(self.net, (H, W, C)).plan


class Running:
    def __init__(self, plan):
        self.plan = plan
        self.arenas = []

    def arena(self, i, threads):
        size = self.plan.size + threads * self.plan.private
        while len(self.arenas) <= i:
            self.arenas.append(np.empty(0, np.float32))
        if self.arenas[i].size < size:
            self.arenas[i] = memory.empty((max(size, memory.SMALL),))
            self.arenas[i][:] = 0
        return self.arenas[i]

    def run(self, x, threads):
        plan, N = self.plan, len(x)
        y = np.empty((N, *plan.output.shape), np.float32)
        together = N % threads if not any(isinstance(s, Foreign) for s in plan.sections) else N
        unclaimed = itertools.count()

        def alone(i):
            while (n := next(unclaimed)) < N - together:
                self.one(x[n], y[n], self.arena(i, threads), 1)
        if N > together:
            for i in range(threads):
                self.arena(i, threads)
            others = [pool(threads).submit(alone, i) for i in range(1, threads)]
            alone(0)
            for other in others:
                other.result()
        for n in range(N - together, N):
            self.one(x[n], y[n], self.arena(0, threads), threads)
        return y

    def one(self, x, y, arena, threads):
        plan = self.plan
        image = x.reshape(-1)
        for section in plan.sections:
            if isinstance(section, Foreign):
                self.foreign(section, x, arena)
                continue
            counters = np.zeros(2 * LINE * (len(plan.program.phases)), np.int64)
            args = plan.program, *section, image, arena
            for i in range(1, threads):
                pool(threads).submit(run, *args, plan.size + i * plan.private, counters)
            run(*args, plan.size, counters)
        place = plan.output
        np.copyto(y.reshape(place.size), self.view(arena, place))

    def view(self, arena, place):
        H, W, C = place.size
        return np.lib.stride_tricks.as_strided(arena[place.at(0):], (H, W, C), (4 * place.buffer.row, 4 * place.buffer.pitch, 4))

    def foreign(self, step, x, arena):
        values = [x if p.buffer.is_image else self.view(arena, p).reshape(p.shape) for p in step.sources]
        y = step.layer.forward(*(v[None] for v in values))
        np.copyto(self.view(arena, step.target), y.reshape(step.target.size))
