"""Words for writing vector instructions: a few functions over LLVM's IR builder, for the kernels that compose them.

Numba compiles Python through LLVM, and its ``@intrinsic`` lets a function write LLVM's own language, the IR. There a vector of
16 floats is a type like any other: LLVM splits it into two registers of 8 where the processor has AVX2, takes one of 16 with
AVX-512, four of 4 on ARM. So the kernels say what is to be computed, 16 numbers at a time, and the width follows the CPU.
"""

import functools
import platform

import numpy as np
from llvmlite import binding, ir
from numba import config
from numba.core import cgutils

from .compiling import PLAIN

LANES = 16                                                  # of a panel: the kernels' columns are computed in sixteens
FLOAT, INT = ir.FloatType(), ir.IntType(64)


def vector(lanes):
    """The type of so many floats."""
    return ir.VectorType(FLOAT, lanes)


ARM, X86 = (platform.machine().lower() in names for names in (("aarch64", "arm64"), ("x86_64", "amd64")))


@functools.cache
def features():
    """What the processor has, by LLVM's names; or what ``NUMBA_CPU_FEATURES`` and ``NUMBA_ENABLE_AVX`` tell Numba to use."""
    if config.CPU_FEATURES is None:
        return {name for name, has in binding.get_host_cpu_features().items() if has and (config.ENABLE_AVX or "avx" not in name)}
    return {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}


def has_avx512():
    """Whether there are 32 registers of 16 floats. AVX2 has 16 of 8; ARM's 32 of 4 hold as much as these."""
    return "avx512f" in features()


def has_multiply_add():
    """Whether a vector multiply-add is an instruction; without it LLVM would call a function for each number."""
    return ARM or "fma" in features()


HAS_IR = not PLAIN and has_multiply_add()                   # whether kernels are written in IR, or run as plain loops


def integer(value):
    """A constant."""
    return ir.Constant(INT, value)


def constant(value, lanes):
    """One number in every lane."""
    return numbers([value] * lanes)


def numbers(values):
    """A constant for each lane."""
    return ir.Constant(vector(len(values)), np.float32(values).tolist())         # IR wants floats that float32 holds exactly


def pointer(context, builder, array_type, array, offsets):
    """Where the element at the sum of the offsets lies, in a one-dimensional array."""
    data = builder.extract_value(array, context.data_model_manager[array_type].get_field_position("data"))
    return builder.gep(data, [functools.reduce(builder.add, offsets)])


def kept(builder, place):
    """The same address, of which LLVM does not know how it came about: it stays in a register.

    Else LLVM, short of registers, would add it up again from its parts each time that it is used: in the tile's inner loop that
    is two instructions more for each row.
    """
    return builder.asm(ir.FunctionType(place.type, [place.type]), "", "=r,0", [place], False)


def in_loop(builder, value):
    """The same value; what is computed from it stays in the loop where it stands, and the loop is not unrolled.

    LLVM would move it out of the loop, or compute two turns' worth at once, and keep on the stack what no register is left for.
    "Convergent" tells it not to: such an instruction must not be reached on other ways than before.
    """
    same = builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)
    same.attributes.add("convergent")
    return same


def load(builder, place, lanes):
    """So many floats from memory, at any address."""
    value = builder.load(builder.bitcast(place, vector(lanes).as_pointer()))
    value.align = 4
    return value


def store(builder, value, place):
    """A vector to memory, at any address."""
    builder.store(value, builder.bitcast(place, value.type.as_pointer())).align = 4


def ask_for(builder, place, to_write=False):
    """Ask memory for a cache line, into the second-level cache, or, to write to it, into the first.

    An address that does not exist does no harm.
    """
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    purpose = [number(1), number(3)] if to_write else [number(0), number(2)]
    builder.call(function, [builder.bitcast(place, byte), *purpose, number(1)])


def splat(builder, number, lanes):
    """One number in every lane: of a float on x86 a single load instruction."""
    empty = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    index = ir.VectorType(ir.IntType(32), lanes)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(index, [0] * lanes))


def multiply_add(builder, a, b, c):
    """``a * b + c`` in one instruction, rounded once."""
    kind = a.type
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.v{kind.count}f32")
    return builder.call(function, [a, b, c])


def of_avx512(builder, name, result, *arguments):
    """Call an instruction that only AVX-512 has."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.{name}"), arguments)


ALL_LANES, ROUNDING = ir.IntType(16)(-1), ir.IntType(32)(4)        # which lanes are written; as the processor is set


def rounded(builder, x, places):
    """16 floats rounded to so many binary places."""
    return of_avx512(builder, "mask.rndscale.ps.512", x.type, x, ir.IntType(32)(places << 4 | 8), x, ALL_LANES, ROUNDING)


def scaled(builder, x, n):
    """``x * 2^floor(n)``, lane by lane."""
    return of_avx512(builder, "mask.scalef.ps.512", x.type, x, n, x, ALL_LANES, ROUNDING)


def entries(builder, table, index):
    """Of a table of 16 constants those that the lowest four bits of each lane say."""
    integers = ir.VectorType(ir.IntType(32), 16)
    return of_avx512(builder, "permvar.sf.512", index.type, numbers(table), builder.bitcast(index, integers))


def loop(builder, count, start, body):
    """``for i in range(count): values = body(i, values)`` with the values in registers; count is at least 1."""
    before, inside, after = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(inside)
    builder.position_at_end(inside)
    i, values = builder.phi(INT), [builder.phi(value.type) for value in start]
    i.add_incoming(integer(0), before)
    for value, first in zip(values, start):
        value.add_incoming(first, before)
    results = body(i, values)
    following, end = builder.add(i, integer(1)), builder.block
    i.add_incoming(following, end)
    for value, result in zip(values, results):
        value.add_incoming(result, end)
    builder.cbranch(builder.icmp_signed("<", following, count), inside, after)
    builder.position_at_end(after)
    return results


def in_parts(builder, count, widths, emit):
    """``emit(lanes, c)`` for every c from 0 to count, ``lanes`` of them at a time: the first width as often as it fits, then the
    next; the last is 1."""
    def as_often_as_fits(lanes, done):
        turns = builder.sdiv(builder.sub(count, done), integer(lanes))

        def part(_, here):
            emit(lanes, *here)
            return [builder.add(*here, integer(lanes))]
        return where(builder, turns, [done], lambda: loop(builder, turns, [done], part))
    done = [integer(0)]
    for lanes in widths:
        done = as_often_as_fits(lanes, *done)


def where(builder, count, values, emit):
    """The values that ``emit()`` gives where a count is not 0, else these."""
    before, inside, after = builder.block, builder.append_basic_block("inside"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed("!=", count, integer(0)), inside, after)
    builder.position_at_end(inside)
    results, end = emit(), builder.block
    builder.branch(after)
    builder.position_at_end(after)
    merged = []
    for value, result in zip(values, results):
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        phi.add_incoming(result, end)
        merged.append(phi)
    return merged


def switch(builder, value, cases):
    """Emit one of several pieces of code, chosen by an integer when it runs: ``cases[value]()``; without such a case, none."""
    end = builder.append_basic_block("end")
    chosen = builder.switch(value, end)
    for number, emit in cases.items():
        block = builder.append_basic_block("case")
        chosen.add_case(integer(number), block)
        builder.position_at_end(block)
        emit()
        builder.branch(end)
    builder.position_at_end(end)
