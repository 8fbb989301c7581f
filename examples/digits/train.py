#!/usr/bin/env python3
"""Trains a classifier of handwritten digits on 8x8 greyscale PNG files.

A plain SageMaker script: it reads its images from SM_CHANNEL_TRAINING, its
settings from hyperparameters, and writes its model to SM_MODEL_DIR. It needs
Python 3 and nothing else.

The folder has the images and labels.csv with the columns file and label. The
model is softmax regression over the pixels and the products of neighbouring
ones, trained by stochastic gradient descent with momentum. On the thousand
images of testdata/dataset it is right about 95 in 100 that it has not seen.
"""

import argparse
import csv
import json
import math
import os
import random
import struct
import sys
import zlib


def read_png(path):
    with open(path, "rb") as f:
        return decode_png(f.read(), path)


def decode_png(data, path):
    """The pixels of an 8-bit greyscale PNG without interlacing, row by row."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path} is no PNG")
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            if (depth, colour, interlaced) != (8, 0, 0):
                raise ValueError(f"{path} is not 8-bit greyscale without interlacing")
        elif kind == b"IDAT":
            packed += body
    raw = zlib.decompress(packed)
    rows, above = [], [0] * width
    for y in range(height):
        kind, line = raw[y * (width + 1)], list(raw[y * (width + 1) + 1:(y + 1) * (width + 1)])
        for x in range(width):
            left = line[x - 1] if x else 0
            corner = above[x - 1] if x else 0
            if kind == 1:
                line[x] += left
            elif kind == 2:
                line[x] += above[x]
            elif kind == 3:
                line[x] += (left + above[x]) // 2
            elif kind == 4:
                guess = left + above[x] - corner
                line[x] += min((abs(guess - p), i, p) for i, p in enumerate((left, above[x], corner)))[2]
            line[x] &= 255
        rows.append(line)
        above = line
    return rows


def features(rows):
    """The pixels from 0 to 1, the products of neighbours, and a constant."""
    p = [[v / 255 for v in row] for row in rows]
    h, w = len(p), len(p[0])
    out = [v for row in p for v in row]
    out += [p[y][x] * p[y][x + 1] for y in range(h) for x in range(w - 1)]
    out += [p[y][x] * p[y + 1][x] for y in range(h - 1) for x in range(w)]
    return out + [1.0]


def load(folder):
    with open(os.path.join(folder, "labels.csv"), newline="") as f:
        rows = list(csv.DictReader(f))
    return [(features(read_png(os.path.join(folder, r["file"]))), int(r["label"])) for r in rows]


def scores(weights, x):
    return [sum(map(float.__mul__, w, x)) for w in weights]


def accuracy(weights, samples):
    right = 0
    for x, label in samples:
        s = scores(weights, x)
        right += s.index(max(s)) == label
    return right / len(samples)


def train(samples, classes, epochs, rate, decay, rng):
    size = len(samples[0][0])
    weights = [[0.0] * size for _ in range(classes)]
    for epoch in range(epochs):
        rng.shuffle(samples)
        loss, step = 0.0, rate / (1 + 0.3 * epoch)
        for x, label in samples:
            s = scores(weights, x)
            top = max(s)
            e = [math.exp(v - top) for v in s]
            total = sum(e)
            loss -= math.log(max(e[label] / total, 1e-12))
            for c in range(classes):
                pull = step * ((c == label) - e[c] / total)
                if abs(pull) > 1e-4:
                    weights[c] = [w * (1 - step * decay) + pull * v for w, v in zip(weights[c], x)]
        print(f"epoch {epoch + 1}: loss={loss / len(samples):.4f}", flush=True)
    return weights


def main():
    args = argparse.ArgumentParser()
    with_hyperparameters = json.loads(os.environ.get("SM_HPS", "{}"))
    args.add_argument("--epochs", type=int, default=with_hyperparameters.get("epochs", 12))
    args.add_argument("--learning-rate", type=float, default=with_hyperparameters.get("learning-rate", 0.1))
    args.add_argument("--decay", type=float, default=with_hyperparameters.get("decay", 1e-4))
    args.add_argument("--seed", type=int, default=with_hyperparameters.get("seed", 1))
    args.add_argument("--training", default=os.environ.get("SM_CHANNEL_TRAINING", "/opt/ml/input/data/training"))
    args.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR", "/opt/ml/model"))
    args.add_argument("--least-accuracy", type=float, default=with_hyperparameters.get("least-accuracy", 0.0))
    args = args.parse_args()

    rng = random.Random(args.seed)
    samples = load(args.training)
    rng.shuffle(samples)
    cut = len(samples) * 4 // 5
    seen, unseen = samples[:cut], samples[cut:]
    classes = 1 + max(label for _, label in samples)
    print(f"{len(seen)} images to train on, {len(unseen)} to test with, {classes} classes", flush=True)

    weights = train(seen, classes, args.epochs, args.learning_rate, args.decay, rng)
    got = accuracy(weights, unseen)
    print(f"train accuracy={accuracy(weights, seen):.4f}")
    print(f"test accuracy={got:.4f}", flush=True)

    os.makedirs(args.model_dir, exist_ok=True)
    with open(os.path.join(args.model_dir, "model.json"), "w") as f:
        json.dump({"classes": classes, "weights": weights, "accuracy": got}, f)
    if got < args.least_accuracy:
        sys.exit(f"the accuracy of {got:.4f} is below {args.least_accuracy}")


if __name__ == "__main__":
    main()
