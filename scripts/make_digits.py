#!/usr/bin/env python3
"""Makes nn/data/digits.bin, the data set embedded in the library, from scikit-learn's copy of the UCI digits.

    scripts/make_digits.py           writes the file
    scripts/make_digits.py --check   fails if the file is not what it would write

The input is digits.csv.gz of Debian's python3-sklearn: 1,797 lines of 64 pixels (0..16, row by row) and a
label. The output is 116,805 bytes: every image's 64 pixels, one byte each, then every image's label;
the 1,437 images for training come first, the 360 for testing after them.

The split is a fixed function of the line number: images are ordered by the SHA-256 of
"taper digits LINE" (LINE counts from 0), and the first 36 of each class in that order are the test set.
Both parts are thus shuffled and the test set is exactly balanced, whatever the Python version.
"""

import gzip
import hashlib
import pathlib
import sys

SOURCE = "/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz"
TARGET = pathlib.Path(__file__).resolve().parent.parent / "nn/data/digits.bin"
TEST_PER_CLASS = 36


def read_images(path):
    """The file's images in its order, each a pair (pixels, label)."""
    images = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            *pixels, label = map(int, line.split(","))
            assert len(pixels) == 64 and all(0 <= p <= 16 for p in pixels) and 0 <= label <= 9
            images.append((bytes(pixels), label))
    assert len(images) == 1797
    return images


def split(images):
    """(training images, test images), both shuffled."""
    order = sorted(range(len(images)), key=lambda i: hashlib.sha256(f"taper digits {i}".encode()).digest())
    train, test, taken = [], [], [0] * 10
    for i in order:
        label = images[i][1]
        taken[label] += 1
        (test if taken[label] <= TEST_PER_CLASS else train).append(images[i])
    return train, test


def main():
    train, test = split(read_images(SOURCE))
    images = train + test
    data = b"".join(pixels for pixels, _ in images) + bytes(label for _, label in images)
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_bytes() != data:
            sys.exit(f"{TARGET} is not what {sys.argv[0]} makes of {SOURCE}")
    elif not sys.argv[1:]:
        TARGET.write_bytes(data)
        print(f"{TARGET}: {len(train)} + {len(test)} images, {len(data)} bytes, "
              f"SHA-256 {hashlib.sha256(data).hexdigest()}")
    else:
        sys.exit(f"{sys.argv[0]}: unknown arguments {sys.argv[1:]}; use --check or nothing")


if __name__ == "__main__":
    main()
