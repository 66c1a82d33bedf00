"""A compiled scan of JPEG entropy data that keeps the DC coefficients of luma alone.

The DC coefficient of a block is the mean of its 64 pixels, so these are the picture at 1/8 scale
(ITU-T T.81, F.2; G.1.2.1 for progressive files). Everything else is skipped by tables whose
entries swallow several symbols.

The scan trusts nothing: it either finds the data regular to the last bit or gives up, and the
caller then asks libjpeg, whose verdict counts. What keeps each access in range is said where it
is made; the functions are compiled without bounds checks.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.int32]

BITS = 12
"""Bits that index a table: one of 4,096 entries of 4 bytes stays in the first-level cache."""
SIZE = 1 << BITS
PAD = 16
"""Bytes after the data that the bit reader may look at."""

# An entry of a table says what to do when the next 12 bits are its index.
LENGTH = 0x3F
"""Bits to drop: codes and the magnitudes after them, 27 at most."""
ADVANCE = 8
"""Shift of how far along the zigzag the symbols go, 0–127; one more if they end the block."""
SLOW = 127 << ADVANCE
"""No symbol fits into 12 bits, or it is no ordinary one."""
MAGNITUDE = 16
"""Shift of the size in bits of a DC difference that is wanted, 0–15."""
KEEP = 20
"""Shift of the flag of a DC coefficient that is wanted."""
MOVE = -(1 << 31)
"""The DC part, or the block, is complete: its sign bit, so that one shift makes a mask of it."""


def _load(typing: Any, data: Any, at: Any) -> Any:
    """The eight bytes of `data` from `at` as one number, the first byte the highest."""
    del typing

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        word = builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)
        return builder.bswap(word)

    return types.uint64(data, at), generate


load_big_endian: Any = intrinsic(_load)


def _store(typing: Any, data: Any, at: Any, word: Any) -> Any:
    """Write a number to the eight bytes of `data` from `at`, the highest byte first."""
    del typing

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(array.data, [arguments[1]])
        pointer = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        builder.store(builder.bswap(arguments[2]), pointer, align=1)
        return context.get_dummy_value()

    return types.void(data, at, word), generate


store_big_endian: Any = intrinsic(_store)


@njit(nogil=True, cache=True)
def unstuff(data: Bytes, start: int, out: Bytes, starts: NDArray[np.int64]) -> tuple[int, int, int]:
    """Copy entropy data without stuffing and restart markers.

    Gives the number of bytes written, of restart markers met (the byte after each in `starts`)
    and the position of the marker that ends the data, or -1 where none does or the restart
    markers are out of order or too many. `out` holds at least len(data) - start + 32 bytes.
    """
    at, written, restarts = start, 0, 0
    size = data.size
    while at < size:
        if at + 8 <= size:
            # Eight bytes at a time: a byte is 0xFF where its complement is zero, and the highest
            # such byte sets its high bit in `marks`; `out` has room for what is copied beyond it.
            word = load_big_endian(data, at)
            store_big_endian(out, written, word)
            marks = (~word - np.uint64(0x0101010101010101)) & word & np.uint64(0x8080808080808080)
            if marks == 0:
                at += 8
                written += 8
                continue
        byte = data[at]
        at += 1
        if byte != 0xFF:
            out[written] = byte
            written += 1
            continue
        # libjpeg takes 0xFF 0xFF 0x00 for a data byte too; no encoder writes that.
        if at >= size:
            break
        code = data[at]
        at += 1
        if code == 0:
            out[written] = 0xFF
            written += 1
        elif 0xD0 <= code <= 0xD7:
            if code != 0xD0 + (restarts & 7) or restarts + 1 >= starts.size:
                break
            restarts += 1
            starts[restarts] = written
        else:
            return written, restarts, at - 2
    return written, restarts, -1


@njit(nogil=True, cache=True)
def canonical(counts: Bytes, limits: NDArray[np.int64], offsets: NDArray[np.int64]) -> bool:
    """Fill what decodes a Huffman table a bit at a time; False where the table is impossible.

    A code of n bits is below limits[n] (-1: there is none), and its symbol's place is
    code + offsets[n] (T.81, F.2.2.3).
    """
    code, place = 0, 0
    for length in range(1, 17):
        limits[length] = -1
        count = int(counts[length - 1])
        if count:
            offsets[length] = place - code
            code += count
            place += count
            # All ones is no code, and 256 symbols are the most there are.
            if code >= 1 << length or place > 256:
                return False
            limits[length] = code
        code <<= 1
    return True


@njit(nogil=True, cache=True)
def symbol(
    window: Any, limits: NDArray[np.int64], offsets: NDArray[np.int64], symbols: Bytes
) -> tuple[int, int]:
    """The symbol that the top bits of a 16-bit `window` spell, and its length; (-1, 0) if none."""
    for length in range(1, 17):
        code = window >> (16 - length)
        if code < limits[length]:
            # A code below the limit of its length, and of no shorter one, has a place below 256.
            return int(symbols[code + offsets[length]]), length
    return -1, 0


@njit(nogil=True, cache=True)
def spread(single: NDArray[np.int64], counts: Bytes, symbols: Bytes) -> None:
    """For each window of 12 bits its first symbol: value << 8 | code length, -1 where none fits.

    The table is one that `canonical` found possible, so its codes don't overlap and stay below
    the size of the table.
    """
    single[:] = -1
    at, place = 0, 0
    for length in range(1, BITS + 1):
        for _ in range(counts[length - 1]):
            stop = at + (SIZE >> length)
            single[at:stop] = np.int64(symbols[place]) << 8 | length
            at = stop
            place += 1


@njit(nogil=True, cache=True)
def fill_dc(table: Words, counts: Bytes, symbols: Bytes, wanted: bool) -> None:
    """The table of a possible DC Huffman table; `symbols` holds 256."""
    single = np.empty(SIZE, np.int64)
    spread(single, counts, symbols)
    for index in range(SIZE):
        size, length = single[index] >> 8, single[index] & 0xFF
        if size < 0 or size > 11:
            table[index] = SLOW
        elif wanted:
            table[index] = MOVE | 1 << KEEP | size << MAGNITUDE | (length + size)
        else:
            table[index] = MOVE | (length + size)


@njit(nogil=True, cache=True)
def fill_ac(table: Words, counts: Bytes, symbols: Bytes) -> None:
    """The table of a possible AC Huffman table; `symbols` holds 256."""
    single = np.empty(SIZE, np.int64)
    spread(single, counts, symbols)
    for index in range(SIZE):
        used, advance, end = 0, 0, 0
        while used < BITS and end == 0:
            # What follows the window reads as zeros: only a code that ends within it counts,
            # while the magnitude after the last code may lie beyond.
            step = single[index << used & (SIZE - 1)]
            value, length = step >> 8, step & 0xFF
            if step < 0 or used + length > BITS:
                break
            size, run = value & 15, value >> 4
            if size == 0 and run == 0:
                end = MOVE
                advance += 1
            elif (size == 0 and run < 15) or advance + run + 1 > 63:
                # Reserved in baseline, or more than a block holds: the slow path decides.
                break
            else:
                advance += run + 1
            used += length + size
        table[index] = used | advance << ADVANCE | end if used else SLOW


@njit(nogil=True, cache=True)
def scan(
    data: Bytes,
    starts: NDArray[np.int64],
    blocks: NDArray[np.int64],
    tables: Words,
    plan: NDArray[np.int64],
    limits: NDArray[np.int64],
    offsets: NDArray[np.int64],
    symbols: Bytes,
    keep: Bytes,
    out: NDArray[np.int32],
) -> bool:
    """The DC coefficients of luma in the order of the file; False if anything is irregular.

    `data` is what `unstuff` wrote, and PAD bytes; segment i spans starts[i] to starts[i + 1] and
    holds blocks[i] blocks. `plan` names, for the DC and the AC part of each block of an MCU in
    turn, the row of `tables` (rows, 4096) and of `limits`, `offsets` (rows, 17) and `symbols`
    (rows, 256); its last entry repeats the first. `keep` (rows,) marks the DC row of luma. `out`
    has room for one more than there are.
    """
    at: Any
    count: Any
    left: Any
    level: Any
    state: Any
    position: Any
    base: Any
    entry: Any
    move: Any
    flat = tables.ravel()
    states = plan.size - 1
    safe = data.size - 8
    wanted = 0
    for segment in range(blocks.size):
        # No read passes the data: the loop ends where fewer than 8 bytes follow `at`.
        at = starts[segment]
        bits, count = np.uint64(0), 0
        left = 2 * blocks[segment]
        state, position, level = 0, 0, 0
        base, following = plan[0] * SIZE, plan[1] * SIZE
        while left > 0 and at <= safe:
            # Top up to 56 bits or more, of which one step takes 31 at most. `count` is below 64.
            bits |= load_big_endian(data, at) >> np.uint64(count)
            at += (63 - count) >> 3
            count |= 56
            # `base` is a row of the table, and 12 bits stay within the row.
            entry = np.int64(flat[np.uint64(base) + (bits >> np.uint64(64 - BITS))])
            position += entry >> ADVANCE & 127
            move = entry >> 31
            if position >= 63 + (move & 1):
                # Rare: the block ends without saying so, or a table can't tell.
                position -= entry >> ADVANCE & 127
                row = plan[state]
                value, length = symbol(
                    np.int64(bits >> np.uint64(48)), limits[row], offsets[row], symbols[row]
                )
                if value < 0:
                    return False
                if state & 1 == 0:
                    if value > 11:
                        return False
                    entry = np.int64(length + value)
                    if keep[row]:
                        entry |= 1 << KEEP | value << MAGNITUDE
                    move = np.int64(-1)
                elif value == 0:
                    entry = np.int64(length)
                    move = np.int64(-1)
                else:
                    position += (value >> 4) + 1
                    if position > 63 or (value & 15 == 0 and value != 0xF0):
                        return False
                    entry = np.int64(length + (value & 15))
                    move = -np.int64(position == 63)
            length = entry & LENGTH
            size = entry >> MAGNITUDE & 15
            # A difference of n bits that starts with a zero stands for minus its complement
            # (T.81, F.12); n = 0, as in every entry but a wanted DC one, gives 0.
            tail = bits << np.uint64(length - size)
            minus = ~(np.int64(tail) >> 63)
            raw = (tail ^ np.uint64(minus)) >> np.uint64(1) >> np.uint64(63 - size)
            level += (np.int64(raw) ^ minus) - minus
            # Written at each step, kept where the entry says so: `wanted` grows once for each
            # luma block of the blocks that are left, so it stays within `out`.
            out[np.uint64(wanted)] = level
            wanted += entry >> KEEP & 1
            bits <<= np.uint64(length)
            count -= length
            left += move
            position &= ~move
            base ^= (base ^ following) & move
            state -= move
            state &= -np.int64(state != states)
            following = plan[np.uint64(state + 1)] * SIZE
        # libjpeg has nothing to say only where less than a byte is left over.
        spare = starts[segment + 1] * 8 - (at * 8 - count)
        if left > 0 or spare < 0 or spare > 7:
            return False
    return True


@njit(nogil=True, cache=True)
def place(
    levels: NDArray[np.int32], across: int, high: int, wide: int, quantum: int, out: Bytes
) -> bool:
    """DC coefficients to pixels as libjpeg's 1/8 scale gives them; False where one is absurd.

    `levels` come MCU by MCU, `across` MCUs to a row, `high` × `wide` blocks to an MCU.
    """
    rows, columns = out.shape
    # The DC coefficient is eight times the mean about 128.
    for y in range(rows):
        row = out[y]
        at = (y // high * across * high + y % high) * wide
        for left in range(0, columns, wide):
            for x in range(left, min(left + wide, columns)):
                level = levels[np.uint64(at + x - left)]
                # Beyond four times white libjpeg wraps round: no encoder goes there.
                value = (level * quantum + 4) >> 3
                if value < -512 or value > 511:
                    return False
                row[x] = min(max(value + 128, 0), 255)
            at += high * wide
    return True
