"""What `r329fast eval` shows of its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from r329fast.cli.output import Console

if TYPE_CHECKING:
    from r329fast.evaluation import Evaluation, Measurement
    from r329fast.evaluation.summary import Accuracy, Against, VariantResult

_SHOWN = 10


def show(result: Evaluation, out: Console, names: Mapping[int, str]) -> None:
    """Accuracy, what quantisation changes, skipped images, speed."""
    _accuracy(result, out)
    against = result.best.against
    if against is not None:
        _changes(result, out)
        _confusion(result, against, out, names)
    if result.metric:
        named = zip([item.name for item in result.variants], result.metrics, strict=True)
        _metric(result.metric, dict(named), result.float_metric, out)
    _inputs(result, out)
    _skipped(result, out)
    _speed(result, out)
    for path in result.files:
        out.print(f"wrote {path}")


def show_measurement(result: Measurement, out: Console) -> None:
    """The figures of a metric, what was cut off, skipped images, speed."""
    _metric(f"{result.metric}, {result.images} images", result.figures, result.floats, out)
    if len(result.figures) > 1:
        out.print(f"best {result.headline}: {result.best}")
    for name, values in result.saturated.items():
        if values:
            out.print(f"{name}: {values:,} input values were saturated")
    for file, why in result.skipped[:_SHOWN]:
        out.print(f"skipped {file}: {why}")
    if len(result.skipped) > _SHOWN:
        out.print(f"and {len(result.skipped) - _SHOWN} more")
    out.print(f"{result.timing.images_per_second:.1f} images per second")
    for path in result.files:
        out.print(f"wrote {path}")


def _metric(
    title: str,
    figures: Mapping[str, Mapping[str, object]],
    floats: Mapping[str, object] | None,
    out: Console,
) -> None:
    """Plain numbers of a metric, a column per setting; lists of classes go to the record alone."""
    columns = {**({} if floats is None else {"float": floats}), **figures}
    plain = next(iter(figures.values()))
    names = [name for name, value in plain.items() if isinstance(value, (int, float))]
    rows = [[name, *(_number(column[name]) for column in columns.values())] for name in names]
    _table(out, title, ["figure", *columns], rows)


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(
    out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """A table under a line that is not folded to the table's width."""
    out.print(title)
    out.table(columns, rows)


def _accuracy(result: Evaluation, out: Console) -> None:
    rows: list[list[object]] = []
    if result.float_accuracy is not None:
        rows.append(["float", *_figures(result.float_accuracy), None, None])
    for item in result.variants:
        drop = None if item.against is None else _points(-item.against.drop)
        agreement = None if item.against is None else _percent(item.against.agreement)
        rows.append([item.name, *_figures(item.accuracy), drop, agreement])
    columns = ["setting", "top-1 %", "95 %", "top-5 %", "rank"]
    if result.float_accuracy is not None:
        columns += ["change", "agree %"]
    else:
        rows = [row[:-2] for row in rows]
    count = result.best.accuracy.images
    _table(out, f"{count} images", columns, rows)
    if len(result.variants) > 1:
        out.print(f"loses least: {result.best.name}")


def _figures(item: Accuracy) -> list[object]:
    low, high = item.top1_interval
    interval = f"{100 * low:.1f}-{100 * high:.1f}"
    return [_percent(item.top1), interval, _percent(item.top5), _Fixed(item.mean_rank)]


class _Fixed(float):
    """A number that a table shows with two decimals."""

    def __format__(self, spec: str) -> str:
        return f"{float(self):.2f}"


def _percent(share: float) -> _Fixed:
    return _Fixed(100 * share)


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}" if difference else "0.00"


def _changes(result: Evaluation, out: Console) -> None:
    """Lost and gained images, and whether chance explains it."""
    if len(result.variants) == 1 and result.best.against is not None:
        against = result.best.against
        out.print(
            f"float right and int8 wrong: {against.lost}, the other way round: {against.gained} "
            f"(McNemar p = {against.p_value:.3g})"
        )
        return
    rows: list[list[object]] = [
        [item.name, item.against.lost, item.against.gained, f"{item.against.p_value:.3g}"]
        for item in result.variants
        if item.against is not None
    ]
    _table(
        out,
        "lost: float right and int8 wrong; gained: the other way round",
        ["setting", "lost", "gained", "McNemar p"],
        rows,
    )


def _confusion(
    result: Evaluation, against: Against, out: Console, names: Mapping[int, str]
) -> None:
    if not against.worst:
        return
    index = next(i for i, item in enumerate(result.variants) if item is result.best)
    scores = result.scores[index]
    rows = []
    for row in reversed(against.worst[:_SHOWN]):
        true, found = int(result.classes[row]), int(scores["top"][row, 0])
        rows.append(
            [
                result.names[row],
                _class(true, names),
                _class(found, names),
                int(scores["rank"][row]),
            ]
        )
    more = f", {_SHOWN} of {against.lost}" if against.lost > _SHOWN else ""
    more += f" ({result.best.name})" if len(result.variants) > 1 else ""
    title = f"lost by quantisation, the worst last{more}"
    _table(out, title, ["file", "class", "int8 result", "rank"], rows)
    pairs = [pair for pair in against.pairs[:_SHOWN] if pair[2] > 1]
    if pairs:
        _table(
            out,
            "confusion that quantisation adds",
            ["class", "int8 result", "images"],
            [[_class(true, names), _class(found, names), count] for true, found, count in pairs],
        )


def _class(number: int, names: Mapping[int, str]) -> str:
    name = names.get(number, "").split(",")[0]
    return f"{number} {name}".strip()


def _inputs(result: Evaluation, out: Console) -> None:
    """Saturated inputs and ties, where there are any."""
    if len(result.variants) == 1:
        notes = _notes(result.best)
        if notes:
            out.print(notes)
        return
    rows: list[list[object]] = [
        [
            item.name,
            item.saturated_values,
            item.saturated_images,
            item.tied_images,
            _percent(item.top1_shared),
        ]
        for item in result.variants
    ]
    if any(any(row[1:4]) for row in rows):
        _table(
            out,
            "saturated input values, images with such; ties at the top, top-1 if shared",
            ["setting", "values", "images", "tied", "shared %"],
            rows,
        )


def _skipped(result: Evaluation, out: Console) -> None:
    if not result.skipped:
        return
    shown = result.skipped[:_SHOWN]
    more = f", the first {_SHOWN}" if len(result.skipped) > _SHOWN else ""
    _table(
        out,
        f"skipped: {len(result.skipped)} images{more}",
        ["file", "reason"],
        [[name, why] for name, why in shown],
    )


def _speed(result: Evaluation, out: Console) -> None:
    timing = result.timing
    if not timing.images:
        out.print("nothing left to do: all images were there already")
        return
    shares = timing.shares()
    kinds = [name for name in ("simulate", "float", "wait", "other") if shares[name] >= 0.0005]
    words = ", ".join(f"{name} {shares[name]:.1%}" for name in kinds)
    count, word = (timing.workers, "worker") if timing.workers else (timing.threads, "thread")
    where = f"{count} {word}{'s' * (count != 1)}"
    out.print(
        f"{timing.images} images in {timing.seconds:.2f} s, "
        f"{timing.images_per_second:.1f} images/s ({where})"
    )
    out.print(f"time: {words}")
    out.print(f"decoding, beside the others: {shares['decode']:.1%} of the threads' time")
    out.detail(f"preparing {timing.prepare:.2f} s, compiling {timing.warm_up:.2f} s")


def _notes(item: VariantResult) -> str:
    words = []
    if item.saturated_values:
        images = "image" if item.saturated_images == 1 else "images"
        words.append(
            f"{item.saturated_values:,} input values saturated in {item.saturated_images} {images}"
        )
    if item.tied_images:
        have = "image has" if item.tied_images == 1 else "images have"
        words.append(
            f"{item.tied_images} {have} several classes at the top value: argmax takes the "
            f"lowest,\nsharing such images gives a top-1 of {item.top1_shared:.2%}"
        )
    return "\n".join(words)
