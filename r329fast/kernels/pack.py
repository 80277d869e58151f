"""Packing: a block of windows as rows of the tile's form, one chunk of K at a time."""

from __future__ import annotations

from numba import njit

from r329fast.kernels.isa import ISA
from r329fast.kernels.tile import ROW_BYTES, copy_rows

_ELEMENT = ISA.element


@njit(nogil=True, cache=True)
def pack_taps(p, a, x, x_end, pads, pads_end, image, y, column, end, base, ky, k0, k1):  # type: ignore[no-untyped-def]
    """Kernel row `ky` of output columns column..end, tap by tap; `a`: row of the first column."""
    height, width, channels, kernel_x, per_group = p[2], p[3], p[4], p[9], p[17]
    stride, flip = p[11], p[22]
    source_y = y * p[10] - p[14] + ky * p[12]
    inside_y = 0 <= source_y < height
    for kx in range(kernel_x):
        start = (ky * kernel_x + kx) * per_group
        low, high = max(start, k0), min(start + per_group, k1)
        if low >= high:
            continue
        count, skip = high - low, base + low - start
        # Columns whose source x = column * stride + shift lies inside the image: first..last.
        shift = kx * p[13] - p[15]
        first = min(max((stride - 1 - shift) // stride, column), end)
        last = min(max((width - 1 - shift) // stride + 1, first), end)
        if not inside_y:
            first, last = end, end
        target = a + (low - k0) * _ELEMENT
        if first > column:
            copy_rows(target, ROW_BYTES, pads + skip, 0, first - column, count, pads_end, flip)
        if last > first:
            source = x + ((image * height + source_y) * width + first * stride + shift) * channels
            target_first = target + (first - column) * ROW_BYTES
            copy_rows(
                target_first,
                ROW_BYTES,
                source + skip,
                stride * channels,
                last - first,
                count,
                x_end,
                flip,
            )
        if end > last:
            target_last = target + (last - column) * ROW_BYTES
            copy_rows(target_last, ROW_BYTES, pads + skip, 0, end - last, count, pads_end, flip)


@njit(nogil=True, cache=True)
def pack_rows(p, a, x, x_end, pads, pads_end, position, rows, group, k0, k1):  # type: ignore[no-untyped-def]
    """Elements k0..k1 of `rows` windows from output `position` on, as packed rows at `a`.

    p: see `ConvLayout.parameters`; x, pads: addresses; pads holds one kernel row of padding.
    """
    height, width, channels, out_height, out_width = p[2], p[3], p[4], p[5], p[6]
    kernel_x, stride, left, flip = p[9], p[11], p[15], p[22]
    if p[23]:
        source = x + position * channels + k0
        copy_rows(a, ROW_BYTES, source, channels, rows, k1 - k0, x_end, flip)
        return
    whole = p[16] == 1 and p[13] == 1
    span = kernel_x * p[17]
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
        for ky in range(k0 // span, (k1 + span - 1) // span):
            source_y = y * p[10] - p[14] + ky * p[12]
            low, high = max(ky * span, k0), min((ky + 1) * span, k1)
            target = a + done * ROW_BYTES + (low - k0) * _ELEMENT
            if whole and not 0 <= source_y < height:
                source = pads + low - ky * span
                copy_rows(target, ROW_BYTES, source, 0, end - column, high - low, pads_end, flip)
                continue
            if first > column:
                row = a + done * ROW_BYTES
                pack_taps(
                    p,
                    row,
                    x,
                    x_end,
                    pads,
                    pads_end,
                    image,
                    y,
                    column,
                    first,
                    group * p[17],
                    ky,
                    k0,
                    k1,
                )
            if last > first:
                place = (image * height + source_y) * width + first * stride - left
                source = x + place * channels + low - ky * span
                target += (first - column) * ROW_BYTES
                copy_rows(
                    target,
                    ROW_BYTES,
                    source,
                    stride * channels,
                    last - first,
                    high - low,
                    x_end,
                    flip,
                )
            if end > last:
                row = a + (done + last - column) * ROW_BYTES
                pack_taps(
                    p, row, x, x_end, pads, pads_end, image, y, last, end, group * p[17], ky, k0, k1
                )
        done += end - column
        column = 0
        y += 1
        if y == out_height:
            y = 0
            image += 1
