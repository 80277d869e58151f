"""Train the bundled network on freshly drawn images and write it as ONNX.

Needs the optional extra ``train`` (torch, onnx, onnxruntime).  The training images come from the
streams "plain" and "train" of draw.py, pass through the same JPEG encoder as the stored ones, and
are not kept.  The archives must have been drawn before (draw.py): the run ends by measuring the
written file on val.zip, and fails if the accuracy is outside the wanted band.
"""

from __future__ import annotations

import argparse
import json
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from draw import BUNDLED, CLASSES, SIZE, Bytes, Floats, decode_jpeg, draw_image, encode_jpeg
from net import Net, to_onnx
from numpy.typing import NDArray
from torch.nn import functional

SUB = [123.675, 116.28, 103.53]  # 255 times the usual ImageNet mean, RGB order
DIV = [58.395, 57.12, 57.375]  # 255 times the usual ImageNet deviation
Part = tuple[Bytes, NDArray[np.int64], int]  # images, classes, epochs
BAND = (0.85, 0.98)  # wanted float top-1: neither hopeless nor saturated
README = """# Bundled image set and network

Made entirely by this project's own code (`dataset/` in the source tree): nothing was downloaded
or borrowed.  Same licence as the project.

| File | What |
| --- | --- |
{rows}

Ten classes of coloured shapes among clutter, 64x64 RGB.  Each archive holds `label.txt` (a file
name relative to `img/`, a space, the class number; one image per line) and `img/*.jpg`.

Top-1 accuracy of `net.onnx` in float32 on the 500 images of `val.zip`: **{accuracy:.1f} %**.

The network: {params} parameters; input `input`, float32 [N, 3, 64, 64], RGB, normalised as in
`preprocess.json` ((x - sub) / div, x in 0..255); output `logits`, float32 [N, 10], no softmax.

`dataset/README.md` tells how to redraw and retrain.  This file is written by `dataset/train.py`.
"""
WHAT = {
    "val.zip": "500 validation images, 50 of each class",
    "calib.zip": "100 calibration images, 10 of each class",
    "net.onnx": "small residual network, float32, opset 13, batch normalisation unfolded",
    "classes.txt": "line i (from 0) is the name of class i",
    "preprocess.json": "size, channel order and normalisation of the input",
}


def round_trip(stream: str, index: int) -> Bytes:
    """Image ``index`` of a stream as an archive would give it back: uint8 RGB [64, 64, 3]."""
    return decode_jpeg(encode_jpeg(draw_image(stream, index)[0]))


def training_images(stream: str, count: int) -> tuple[Bytes, NDArray[np.int64]]:
    """uint8 RGB [count, 64, 64, 3] after the JPEG round trip, and classes int64 [count]."""
    with ProcessPoolExecutor(2) as pool:
        images = list(pool.map(partial(round_trip, stream), range(count), chunksize=200))
    return np.stack(images), np.arange(count, dtype=np.int64) % len(CLASSES)


def read_archive(path: Path) -> tuple[Bytes, NDArray[np.int64]]:
    """Images uint8 RGB [n, 64, 64, 3] and classes int64 [n] of a stored archive."""
    images, labels = [], []
    with zipfile.ZipFile(path) as archive:
        for line in archive.read("label.txt").decode("ascii").splitlines():
            name, label = line.split()
            images.append(decode_jpeg(archive.read(f"img/{name}")))
            labels.append(int(label))
    return np.stack(images), np.array(labels, np.int64)


def normalise(images: Bytes) -> Floats:
    """uint8 RGB [n, h, w, 3] to float32 [n, 3, h, w], (x - SUB) / DIV."""
    sub, div = np.array(SUB, np.float32), np.array(DIV, np.float32)
    x = (images.astype(np.float32) - sub) / div
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def train(net: Net, parts: list[Part], seed: int) -> None:
    """AdamW with a one-cycle rate over all parts in turn; prints a line per epoch."""
    rng = np.random.default_rng(seed)
    batch = 32
    plan = [(images, labels) for images, labels, epochs in parts for _ in range(epochs)]
    steps = sum(len(labels) // batch for _, labels in plan)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps, pct_start=0.15)
    net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for epoch, (images, labels) in enumerate(plan):
        start, total, right = time.monotonic(), 0.0, 0
        count = len(labels) // batch * batch
        order = rng.permutation(len(labels))[:count].reshape(-1, batch)
        for chosen in order:
            # No class changes when its image is turned or mirrored, so each epoch sees new ones.
            view = np.rot90(images[chosen], int(rng.integers(0, 4)), axes=(1, 2))
            if rng.random() < 0.5:
                view = view[:, :, ::-1]
            x = torch.from_numpy(normalise(view)).contiguous(memory_format=torch.channels_last)
            y = torch.from_numpy(labels[chosen])
            optimiser.zero_grad()
            logits = net(x)
            loss = functional.cross_entropy(logits, y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            right += int((logits.argmax(1) == y).sum())
        seconds = time.monotonic() - start
        rate = 100.0 * right / order.size
        mean = total / len(order)
        print(f"epoch {epoch}: loss {mean:.4f}, {rate:.2f} %, {seconds:.0f} s", flush=True)
    net.eval()


def accuracy(model: bytes, images: Bytes, labels: NDArray[np.int64]) -> float:
    """Top-1 in 0..1 of an ONNX file, run by onnxruntime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"input": normalise(images)})
    return float((np.asarray(logits).argmax(1) == labels).mean())


def write_texts(out: Path, top1: float, params: int) -> None:
    """preprocess.json and README.md."""
    recipe = {
        "size": [SIZE, SIZE],
        "order": "RGB",
        "resize": "stretch",
        "sub": SUB,
        "div": DIV,
    }
    (out / "preprocess.json").write_bytes((json.dumps(recipe) + "\n").encode("ascii"))
    rows = [f"| `{n}` | {what}; {(out / n).stat().st_size} bytes |" for n, what in WHAT.items()]
    text = README.format(rows="\n".join(rows), accuracy=100.0 * top1, params=params)
    (out / "README.md").write_bytes(text.encode("ascii"))


def main() -> None:
    """Draw, train, write, measure."""
    parser = argparse.ArgumentParser(description="Train the bundled network.")
    parser.add_argument("--out", type=Path, default=BUNDLED, help="folder of val.zip and net.onnx")
    parser.add_argument("--images", type=int, default=12800, help="training images drawn")
    parser.add_argument("--warmup", type=int, default=3, help="epochs without clutter, half size")
    parser.add_argument("--epochs", type=int, default=9, help="epochs with clutter")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    start = time.monotonic()
    # Among clutter the loss stays at chance for long; a few epochs without it break the spell.
    plain = training_images("plain", args.images // 2)
    full = training_images("train", args.images)
    print(
        f"{len(plain[1]) + len(full[1])} training images drawn in {time.monotonic() - start:.0f} s",
        flush=True,
    )

    net = Net(len(CLASSES))
    params = sum(p.numel() for p in net.parameters())
    train(net, [(*plain, args.warmup), (*full, args.epochs)], args.seed)
    model = to_onnx(net, SIZE)
    data = model.SerializeToString(deterministic=True)
    (args.out / "net.onnx").write_bytes(data)

    val, val_labels = read_archive(args.out / "val.zip")
    with torch.no_grad():
        ours = net(torch.from_numpy(normalise(val))).argmax(1).numpy()
    top1 = accuracy(data, val, val_labels)
    print(f"val.zip: {100 * top1:.2f} % by onnxruntime, {params} parameters")
    print(f"the same images in torch: {100 * float((ours == val_labels).mean()):.2f} %")
    print(f"{time.monotonic() - start:.0f} s in all")
    write_texts(args.out, top1, params)
    if not BAND[0] <= top1 <= BAND[1]:
        raise SystemExit(f"accuracy outside {BAND}: change the drawing or the training")


if __name__ == "__main__":
    main()
