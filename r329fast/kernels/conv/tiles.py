"""All output channels over lines of positions: by tiles of runs, or by groups of a few rows."""

from __future__ import annotations

from r329fast.kernels.ir import gemm_tile as gemm_tile_ir
from r329fast.kernels.leaves.gemm_tile import (
    GROUPED,
    HALF,
    ROWS_NARROW,
    ROWS_WIDE,
    row_groups_narrow,
    row_groups_slim,
    row_groups_wide,
    row_tile_narrow,
    row_tile_slim,
    row_tile_wide,
)
from r329fast.kernels.leaves.rows import epilogue_rows
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.kernels.runtime.isa import ISA

_WIDTH = ISA.width
_SMALL, _SLIM = _WIDTH // 2, ISA.slim
_LONG = 128  # steps of K


@kernel_part
def take_run(line, place, way):  # type: ignore[no-untyped-def]
    """Where the rows of a tile's run begin, and its outputs (bytes from those of the first), and
    the line and place of the run behind it: itself where it is the last one.

    way: positions of a line (or column), lines, positions of a run, bytes from line to line and
    from position to position, the same of the outputs. A line's last run begins earlier if need be.
    """
    length, lines, count, across_in, along_in, across_out, along_out = way
    start = min(place, length - count)
    rows, outputs = line * across_in + start * along_in, line * across_out + start * along_out
    if place + HALF < length:
        return rows, outputs, line, place + HALF
    if line + 1 < lines:
        return rows, outputs, line + 1, 0
    return rows, outputs, line, place


@kernel_part
def group_lines(a, o, way, spans, w, epilogue, first, pitch, fuse, wide, slim):  # type: ignore[no-untyped-def]
    """The columns of a panel over all lines of `way`, a few rows at once."""
    taps, jump, steps = spans
    length, lines, _count, across, along, across_out, along_out = way
    for _ in range(lines):
        if wide:
            row_groups_wide(
                a, along, length, taps, jump, steps, w, epilogue, first, pitch, fuse, o, along_out
            )
        elif slim:
            row_groups_slim(
                a, along, length, taps, jump, steps, w, epilogue, first, pitch, fuse, o, along_out
            )
        else:
            row_groups_narrow(
                a, along, length, taps, jump, steps, w, epilogue, first, pitch, fuse, o, along_out
            )
        a += across
        o += across_out


@kernel_part
def grouping(lines, width, tiled, wide, long):  # type: ignore[no-untyped-def]
    """Whether groups of rows take lines one by one (1), or columns (2), or tiles do better (0).

    A few rows at once hide what finishes them behind products, where they make no more positions
    than the `tiled` ones. A `long` K has so many products that there is little to hide, and groups
    read weights more often: they have to make fewer.
    """
    at_once = HALF * (2 if wide else 4)
    tiled = (tiled + at_once - 1) // at_once * at_once
    if long:
        tiled = tiled * 15 // 16
    rows = ROWS_WIDE if wide else ROWS_NARROW
    lying = lines * ((width + rows - 1) // rows * rows)
    standing = width * ((lines + rows - 1) // rows * rows)
    alone = lines == 1 and not long  # a few positions more do not count
    if width >= rows and (alone or (lying <= tiled and lying <= standing)):
        return 1
    return 2 if lines >= rows and standing <= tiled else 0


@kernel_part
def tile_runs(a, o, way, spans, w, epilogue, first, pitch, fuse, left, acc, wide, slim):  # type: ignore[no-untyped-def]
    """The columns of a panel, `left` of which exist, over all runs of `way`.

    The tile writes bytes itself unless fuse is STORE: then it leaves int32 sums at `acc`, of which
    the epilogue takes the existing ones.
    """
    taps, jump, steps = spans
    length, lines, count, _, along, _, along_out = way
    columns, at_once = (_WIDTH, 2) if wide else (_SLIM if slim else _SMALL, 4)
    runs = lines * ((length + HALF - 1) // HALF)
    line, place = 0, 0
    for run in range(0, runs, at_once):
        start_line, start = line, place
        a_in, a_out, line, place = take_run(line, place, way)
        b_in, b_out, line, place = take_run(line, place, way)
        if wide:
            row_tile_wide(
                a + a_in, a + b_in, along, taps, jump, steps, w, epilogue, first, pitch, fuse, acc,
                o + a_out, o + b_out, along_out,
            )  # fmt: skip
        else:
            c_in, c_out, line, place = take_run(line, place, way)
            d_in, d_out, line, place = take_run(line, place, way)
            if slim:
                row_tile_slim(
                    a + a_in, a + b_in, a + c_in, a + d_in, along, taps, jump, steps, w, epilogue,
                    first, pitch, fuse, acc, o + a_out, o + b_out, o + c_out, o + d_out, along_out,
                )  # fmt: skip
            else:
                row_tile_narrow(
                    a + a_in, a + b_in, a + c_in, a + d_in, along, taps, jump, steps, w, epilogue,
                    first, pitch, fuse, acc, o + a_out, o + b_out, o + c_out, o + d_out, along_out,
                )  # fmt: skip
        if fuse:
            continue
        for index in range(min(at_once, runs - run)):
            _, there, start_line, start = take_run(start_line, start, way)
            sums = acc + index * HALF * 4 * columns
            epilogue_rows(
                sums, 4 * columns, epilogue, first, pitch, left, count, o + there, along_out
            )


@kernel_part
def tile_lines(panel, g, a, line_stride, row_stride, lines, width, w, epilogue, out, channel, acc):  # type: ignore[no-untyped-def]
    """All columns of a part over `lines` runs of `width` positions, `line_stride` bytes apart.

    a: address of the first row; out: of the first position's first channel; the outputs of the
    lines follow each other. channel: the part's first; acc: int32 of one tile. panel: of ConvRows
    taps, row_bytes, steps, column, column_end, column_bytes, pitch, fuse.
    """
    taps, jump, steps, column, last, column_bytes, pitch, fuse = panel
    outs, spans = g.outs, (taps, jump, steps)
    per_out = min(g.group_outs, outs - channel)
    # The columns that whole runs of lines leave over: by runs along columns, where those are fewer.
    whole = width // HALF * HALF
    rest = width - whole
    up = (lines + HALF - 1) // HALF
    turned = lines >= HALF and rest * up < lines
    count = HALF if turned else min(HALF, width)  # positions of a run
    tiled = HALF * (lines * (width // HALF) + (rest * up if turned else lines * min(rest, 1)))
    long = taps * steps > _LONG
    # Columns outside, positions inside: the weights of one panel (K x columns) are read from memory
    # once and then stay in L1, while the rows are read again from L2.
    last = min(last, per_out)
    w += column * column_bytes
    while column < last:
        left = per_out - column
        wide = left >= _WIDTH or (left > _SMALL + _SLIM and per_out >= _WIDTH)
        slim = left <= _SLIM
        columns = _WIDTH if wide else _SLIM if slim else _SMALL
        # see `panels`: the last tile begins earlier rather than to have fewer columns
        if left < columns:
            column = max(per_out - columns, 0)
            left = per_out - column
        first = channel + column
        column += columns
        full = left >= columns
        left = min(left, columns)
        o = out + first
        way = (width, lines, count, line_stride, row_stride, width * outs, outs)
        columnwise = (lines, width, count, row_stride, line_stride, outs, width * outs)
        groups = grouping(lines, width, tiled, wide, long) if GROUPED and fuse and full else 0
        if groups:
            way = way if groups == 1 else columnwise
            group_lines(a, o, way, spans, w, epilogue, first, pitch, fuse, wide, slim)
        else:
            now = fuse if full and count == HALF else gemm_tile_ir.STORE
            if turned:
                way = (whole, lines, count, line_stride, row_stride, width * outs, outs)
                columnwise = (lines, rest, count, row_stride, line_stride, outs, width * outs)
                tile_runs(
                    a + whole * row_stride, o + whole * outs, columnwise, spans, w, epilogue, first,
                    pitch, now, left, acc, wide, slim,
                )  # fmt: skip
            tile_runs(a, o, way, spans, w, epilogue, first, pitch, now, left, acc, wide, slim)
        w += columns * column_bytes


def tiled_positions(lines: int, width: int) -> int:
    """Positions that runs of HALF make of so many lines, as `tile_lines` lays them out."""
    rest, up = width % HALF, -(-lines // HALF)
    turned = lines >= HALF and rest * up < lines
    return HALF * (lines * (width // HALF) + (rest * up if turned else lines * (rest > 0)))
