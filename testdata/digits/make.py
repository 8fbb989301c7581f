#!/usr/bin/env python3
"""Write the handwritten digits that scikit-learn ships as PNG files.

    apt-get download python3-sklearn && dpkg -x python3-sklearn_*.deb sklearn
    make.py sklearn/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz ../dataset

Each row of the CSV is one image of 8x8 pixels in the range 0 to 16, and its
class. The first thousand become <class>/<row>.png, and labels.csv lists them.
Standard library only; the same input gives the same bytes.
"""

import csv
import gzip
import os
import struct
import sys
import zlib

COUNT = 1000
SIDE = 8


def png(pixels):
    """The image as an 8-bit greyscale PNG."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    rows = b"".join(
        b"\0" + bytes(min(p * 16, 255) for p in pixels[y * SIDE : (y + 1) * SIDE])
        for y in range(SIDE)
    )
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def main(source, out):
    with gzip.open(source, "rt") as f:
        rows = [[int(float(v)) for v in row] for row in csv.reader(f)][:COUNT]
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "labels.csv"), "w", newline="") as f:
        labels = csv.writer(f, lineterminator="\n")
        labels.writerow(["file", "label"])
        for n, (*pixels, label) in enumerate(rows):
            name = f"{label}/{n:04}.png"
            os.makedirs(os.path.join(out, str(label)), exist_ok=True)
            with open(os.path.join(out, name), "wb") as image:
                image.write(png(pixels))
            labels.writerow([name, label])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
