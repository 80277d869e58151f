"""Copies of input for the row tile: windows as rows, or a band of image rows with its padding."""

from __future__ import annotations

from r329fast.kernels.leaves.rows import copy_bytes, copy_rows
from r329fast.kernels.leaves.vector import move_bytes
from r329fast.kernels.runtime.compiling import kernel_part
from r329fast.kernels.runtime.isa import ISA

_ELEMENT = ISA.element


@kernel_part
def clear_rows(g, rows_at, row_bytes, rows, columns, pads, pads_end):  # type: ignore[no-untyped-def]
    """Padding in all of `rows` rows of `columns` positions: what `load_row` leaves as it is."""
    for row in range(rows):
        target = rows_at + row * row_bytes
        copy_bytes(target, g.channels, pads, 0, columns, g.channels, pads_end, g.flip)


@kernel_part
def load_row(g, target, columns, x, x_end, pads, pads_end, image, source_y):  # type: ignore[no-untyped-def]
    """Row `source_y` of an image (or padding) as bytes, between the padding of a cleared row.

    Only for convolutions whose kernel is not dilated.
    """
    height, width, channels, left, flip = g.height, g.width, g.channels, g.left, g.flip
    inside = max(min(width, columns - left), 0)
    place = target + min(left, columns) * channels
    source = x + (image * height + source_y) * width * g.pitch
    within = 0 <= source_y < height
    runs, run = (1, inside * channels) if g.pitch == channels else (inside, channels)
    # Without a flip the bytes are moved as they are, and none past their end: the padding behind
    # is still there from `clear_rows`.
    if within and flip == 0:
        move_bytes(place, run, source, g.pitch, runs, run)
        return
    if within:
        copy_bytes(place, run, source, g.pitch, runs, run, x_end, flip)
    elif inside > 0:
        copy_bytes(place, channels, pads, 0, inside, channels, pads_end, flip)
    # Those copies write whole vectors, over the padding behind: it is written again.
    behind = columns - left - inside
    if behind > 0:
        place += inside * channels
        copy_bytes(place, channels, pads, 0, behind, channels, pads_end, flip)


@kernel_part
def load_band(g, band, row_bytes, x, x_end, pads, pads_end, image, y, lines, padded):  # type: ignore[no-untyped-def]
    """The image rows under output rows y..y+lines, in cleared rows `row_bytes` apart.

    padded: whether those above and below the image hold padding already.
    """
    columns = (g.out_width - 1) * g.stride_x + g.kernel_x
    count = (lines - 1) * g.stride_y + g.kernel_y
    top = y * g.stride_y - g.top
    first = end = count
    if g.flip == 0 and g.pitch == g.channels:
        # Rows that are moved as they are go by one call: short ones take less time than a call.
        first = min(max(-top, 0), count)
        end = max(min(g.height - top, count), first)
        left = min(g.left, columns)
        inside = max(min(g.width, columns - left), 0)
        across = g.width * g.channels
        place = band + first * row_bytes + left * g.channels
        source = x + (image * g.height + top + first) * across
        move_bytes(place, row_bytes, source, across, end - first, inside * g.channels)
        if padded:
            return
    for row in range(count - (end - first)):
        # the rows before `first`, then those from `end` on
        other = row if row < first else row + end - first
        target = band + other * row_bytes
        load_row(g, target, columns, x, x_end, pads, pads_end, image, top + other)


@kernel_part
def load_part(g, band, row_bytes, x, x_end, pads, pads_end, image, y, lines, base):  # type: ignore[no-untyped-def]
    """The image rows under output rows y..y+lines: a part's channels from `base` on, and padding.

    The last part may have fewer: what is behind them meets weights that are zero.
    """
    height, width, channels, flip, size = g.height, g.width, g.channels, g.flip, g.group_channels
    held = min(size, channels - base)
    columns = (g.out_width - 1) * g.stride_x + g.kernel_x
    left = min(g.left, columns)
    inside = max(min(width, columns - left), 0)
    edge = pads + base
    for row in range((lines - 1) * g.stride_y + g.kernel_y):
        source_y = y * g.stride_y - g.top + row
        target = band + row * row_bytes
        if not 0 <= source_y < height:
            copy_bytes(target, size, edge, 0, columns, held, pads_end, flip)
            continue
        # In this order: every copy writes whole vectors, over the beginning of the next one.
        source = x + (image * height + source_y) * width * g.pitch + base
        copy_bytes(target, size, edge, 0, left, held, pads_end, flip)
        target += left * size
        copy_bytes(target, size, source, g.pitch, inside, held, x_end, flip)
        target += inside * size
        copy_bytes(target, size, edge, 0, columns - left - inside, held, pads_end, flip)


@kernel_part
def pack_taps(g, a, row_bytes, x, x_end, pads, pads_end, image, y, column, end, base, ky):  # type: ignore[no-untyped-def]
    """Kernel row `ky` of output columns column..end, tap by tap; `a`: row of the first column."""
    height, width, channels, kernel_x = g.height, g.width, g.channels, g.kernel_x
    stride, flip, size = g.stride_x, g.flip, g.group_channels
    count = min(size, channels - base)
    source_y = y * g.stride_y - g.top + ky * g.dilation_y
    inside_y = 0 <= source_y < height
    for kx in range(kernel_x):
        # Three runs, left padding, image, right padding, in this order: a copy may write past its
        # end, where the next run then writes.
        # Columns whose source x = column * stride + shift lies inside the image: first..last.
        shift = kx * g.dilation_x - g.left
        first = min(max((stride - 1 - shift) // stride, column), end)
        last = min(max((width - 1 - shift) // stride + 1, first), end)
        if not inside_y:
            first, last = end, end
        target = a + (ky * kernel_x + kx) * size * _ELEMENT
        if first > column:
            copy_rows(target, row_bytes, pads + base, 0, first - column, count, pads_end, flip)
        if last > first:
            place = ((image * height + source_y) * width + first * stride + shift) * g.pitch
            inside = target + (first - column) * row_bytes
            copy_rows(
                inside, row_bytes, x + place + base, stride * g.pitch, last - first, count, x_end,
                flip,
            )  # fmt: skip
        if end > last:
            behind = target + (last - column) * row_bytes
            copy_rows(behind, row_bytes, pads + base, 0, end - last, count, pads_end, flip)


@kernel_part
def pack_rows(g, a, row_bytes, x, x_end, pads, pads_end, position, rows, group, plain):  # type: ignore[no-untyped-def]
    """`rows` windows from output `position` on, as packed rows at `a`, `row_bytes` apart.

    g: `Geometry`; x, pads: addresses; pads holds one kernel row of padding; plain: a row is a whole
    input position.
    """
    height, width, pitch, out_height, out_width = (
        g.height,
        g.width,
        g.pitch,
        g.out_height,
        g.out_width,
    )
    kernel_x, stride, left, flip = g.kernel_x, g.stride_x, g.left, g.flip
    if plain:
        copy_rows(a, row_bytes, x + position * pitch, pitch, rows, g.channels, x_end, flip)
        return
    # One group without dilation: the taps of a kernel row lie side by side in the image too, so
    # that a window that is inside it takes one copy per kernel row.
    whole = g.groups == 1 and g.dilation_x == 1 and (kernel_x == 1 or pitch == g.channels)
    span = kernel_x * g.group_channels
    # Output columns whose windows lie inside the image from left to right.
    inner_first = (left + stride - 1) // stride
    inner_end = max((width - kernel_x + left) // stride + 1, inner_first)
    image = position // (out_height * out_width)
    y = position // out_width - image * out_height
    column = position % out_width
    done = 0
    while done < rows:
        end = min(out_width, column + rows - done)
        first = min(max(inner_first, column), end) if whole else end
        last = min(max(inner_end, first), end)
        line = a + done * row_bytes
        for ky in range(g.kernel_y):
            source_y = y * g.stride_y - g.top + ky * g.dilation_y
            target = line + ky * span * _ELEMENT
            if whole and not 0 <= source_y < height:
                copy_rows(target, row_bytes, pads, 0, end - column, span, pads_end, flip)
                continue
            if first > column:
                pack_taps(
                    g, line, row_bytes, x, x_end, pads, pads_end, image, y, column, first,
                    group * g.group_channels, ky,
                )  # fmt: skip
            if last > first:
                place = (image * height + source_y) * width + first * stride - left
                copy_rows(
                    target + (first - column) * row_bytes, row_bytes, x + place * pitch,
                    stride * pitch, last - first, span, x_end, flip,
                )  # fmt: skip
            if end > last:
                row = line + (last - column) * row_bytes
                pack_taps(
                    g, row, row_bytes, x, x_end, pads, pads_end, image, y, last, end,
                    group * g.group_channels, ky,
                )  # fmt: skip
        done += end - column
        column = 0
        y += 1
        if y == out_height:
            y = 0
            image += 1
