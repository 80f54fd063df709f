"""A finished model, read by tools that know nothing of Potluck.

Trains the digits example, loads `model.safetensors` with the safetensors package, and computes the reported
accuracies again with numpy, from the program's JSON and the owner's CSV file.
"""

import hashlib
import json
import unittest

from safetensors import safe_open
from safetensors.numpy import load

from job import ROOT, Job
from program import UnknownOperation, evaluate, values_of
from splits import permutation, read_splits

DIGITS = ROOT / "examples/digits"


class ExternalTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.job = Job(DIGITS / "job.toml", "digits")
        cls.addClassCleanup(cls.job.close)
        cls.program_text = cls.job.get("/program")
        cls.program = json.loads(cls.program_text)
        cls.model = cls.job.get("/model.safetensors")
        cls.tensors = load(cls.model)
        cls.reported = cls.job.last_version()
        cls.splits = read_splits(DIGITS / "digits.csv", DIGITS / "job.toml", "label")

    def test_tensors_are_the_programs_parameters(self):
        shapes = {parameter["name"]: tuple(parameter["shape"]) for parameter in self.program["parameters"]}
        self.assertEqual({name: tensor.shape for name, tensor in self.tensors.items()}, shapes)
        self.assertTrue(all(tensor.dtype == "float32" for tensor in self.tensors.values()))

    def test_metadata_says_what_the_file_is(self):
        path = f"{self.job.folder.name}/model.safetensors"
        with open(path, "wb") as file:
            file.write(self.model)
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata()
        self.assertEqual(metadata["job"], "digits")
        self.assertEqual(int(metadata["version"]), self.reported["version"])
        self.assertEqual(metadata["program"], hashlib.sha256(self.program_text).hexdigest())

    def check_reported(self, split, reported_accuracy, reported_loss):
        columns = self.splits[split]
        loss, correct = evaluate(self.program, self.tensors, columns)
        samples = len(columns["y"])
        print(f"{split}: {correct} of {samples} right, {correct / samples:.4f}; loss {loss:.6f}", flush=True)
        # The report is a share in f32, so it is turned back into a count.
        self.assertAlmostEqual(reported_accuracy * samples, correct, delta=1e-3)
        self.assertAlmostEqual(reported_loss, loss, delta=1e-4 * max(1.0, loss))

    def test_the_reported_test_accuracy_is_true(self):
        self.check_reported("test", self.reported["test_accuracy"], self.reported["test_loss"])
        self.assertGreaterEqual(self.reported["test_accuracy"], 0.95)

    def test_the_reported_valid_accuracy_is_true(self):
        self.check_reported("valid", self.reported["accuracy"], self.reported["loss"])


class ReadersTest(unittest.TestCase):
    """The readers of this folder do not agree with Potluck by accident."""

    def test_the_shuffle_is_the_one_of_potluck(self):
        # The same numbers stand in crates/data/src/split.rs.
        self.assertEqual(permutation(1, 10), [9, 0, 1, 4, 8, 2, 3, 7, 6, 5])

    def test_an_unknown_operation_is_refused(self):
        with self.assertRaises(UnknownOperation):
            values_of({"inputs": [], "parameters": [], "nodes": [{"op": "fly"}]}, {}, {})


if __name__ == "__main__":
    unittest.main()
