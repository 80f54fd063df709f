"""Which lines of an owner's CSV file are in which split, as `examples/digits/README.md` tells it."""

import csv
import re

import numpy

U64 = (1 << 64) - 1


def splitmix64(seed):
    """The generator of Steele, Lea and Flood (OOPSLA 2014)."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & U64
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & U64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & U64
        yield mixed ^ (mixed >> 31)


def permutation(seed, count):
    """Fisher and Yates from the back."""
    order = list(range(count))
    for last, random in zip(range(count - 1, 0, -1), splitmix64(seed)):
        other = (random * (last + 1)) >> 64
        order[last], order[other] = order[other], order[last]
    return order


def job_number(job_text, key, default):
    """A number of a job file; TOML's full grammar is not needed for that."""
    found = re.search(rf"^{key} *= *([0-9.]+)", job_text, re.MULTILINE)
    return float(found.group(1)) if found else default


def share_count(share, count):
    """A share of the samples, rounded half up, at least one. Shares are f32."""
    return max(1, int(float(numpy.float32(share)) * count + 0.5))


def chosen_rows(job_text, count):
    """The samples of each split, by their numbers in the file."""
    order = permutation(int(job_number(job_text, "seed", 1)), count)
    test_count = share_count(job_number(job_text, "test", 0.1), count)
    valid_count = share_count(job_number(job_text, "valid", 0.1), count)
    return {
        "test": order[:test_count],
        "valid": order[test_count : test_count + valid_count],
        "train": order[test_count + valid_count :],
    }


def read_text_splits(text_path, job_path, vocabulary):
    """The columns `x` and `y` of each split of a text: windows that do not overlap, targets one further."""
    job_text = job_path.read_text(encoding="utf-8")
    window = int(job_number(job_text, "context", 0)) + 1
    tokens = numpy.array([vocabulary[symbol] for symbol in text_path.read_text(encoding="utf-8")])
    windows = tokens[: len(tokens) // window * window].reshape(-1, window)
    rows = chosen_rows(job_text, len(windows))
    return {split: {"x": windows[chosen, :-1], "y": windows[chosen, 1:]} for split, chosen in rows.items()}


def read_splits(csv_path, job_path, label):
    """The columns `x` and `y` of each split."""
    job_text = job_path.read_text(encoding="utf-8")
    scale = numpy.float32(job_number(job_text, "scale", 1))
    with open(csv_path, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    features = [name for name in lines[0] if name != label]
    x = numpy.array([[line[name] for name in features] for line in lines], dtype=numpy.float32)
    y = numpy.array([int(line[label]) for line in lines])
    rows = chosen_rows(job_text, len(lines))
    return {split: {"x": x[chosen] / scale, "y": y[chosen]} for split, chosen in rows.items()}
