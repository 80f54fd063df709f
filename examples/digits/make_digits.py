"""Writes digits.csv from the copy of the UCI handwritten digits that scikit-learn ships.

    python3 -m venv /tmp/digits && /tmp/digits/bin/pip install scikit-learn==1.9.1
    /tmp/digits/bin/python make_digits.py

One row an image: 64 pixels (row by row, 0 to 16), then the digit. The rows keep scikit-learn's order;
Potluck shuffles them once when it reads the file.
"""

import csv
import hashlib
from pathlib import Path

from sklearn.datasets import load_digits

SHA256 = "d7ff1341011182b7af3733b201a919cea2ffe00f25ff23ba48c5e791daffb498"


def main() -> None:
    digits = load_digits()
    path = Path(__file__).with_name("digits.csv")
    with path.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f"p{pixel}" for pixel in range(64)] + ["label"])
        for pixels, label in zip(digits.data, digits.target):
            writer.writerow([int(value) for value in pixels] + [int(label)])
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path} has SHA-256 {found}, expected {SHA256}: scikit-learn ships other data now")
    print(f"wrote {path}: {len(digits.target)} images")


if __name__ == "__main__":
    main()
