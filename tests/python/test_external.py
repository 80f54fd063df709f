"""A finished model, read by tools that know nothing of Potluck.

Trains the digits example, loads `model.safetensors` with the safetensors package, and computes the reported
accuracies again with numpy, from the program's JSON and the owner's CSV file.
"""

import hashlib
import json
import re
import shutil
import tempfile
import unittest
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import load

from job import ROOT, Job
from program import UnknownOperation, evaluate, values_of
from splits import permutation, read_splits, read_text_splits

DIGITS = ROOT / "examples/digits"
PLAYS = ROOT / "examples/plays"


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


class TextTest(unittest.TestCase):
    """A language model, from a text to losses that numpy computes again."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="potluck-text-")
        cls.addClassCleanup(cls.folder.cleanup)
        # The example, small enough for seconds: twelve tasks.
        job_text = (PLAYS / "job.toml").read_text(encoding="utf-8")
        for key, value in [("budget_samples", "1536"), ("context", "32"), ("width", "32"), ("layers", "1")]:
            job_text = re.sub(rf"^{key} = .*$", f"{key} = {value}", job_text, flags=re.MULTILINE)
        cls.job_file = Path(cls.folder.name) / "job.toml"
        cls.job_file.write_text(job_text, encoding="utf-8")
        shutil.copy(PLAYS / "coriolanus.txt", cls.folder.name)
        cls.job = Job(cls.job_file, "plays")
        cls.addClassCleanup(cls.job.close)

    def test_the_reported_losses_are_true(self):
        program = json.loads(self.job.get("/program"))
        tensors = load(self.job.get("/model.safetensors"))
        tokenizer = json.loads(self.job.get("/tokenizer.json"))
        splits = read_text_splits(PLAYS / "coriolanus.txt", self.job_file, tokenizer["model"]["vocab"])
        reported = self.job.last_version()
        for split, key in [("test", "test_"), ("valid", "")]:
            loss, correct = evaluate(program, tensors, splits[split])
            positions = splits[split]["y"].size
            print(f"{split}: {correct} of {positions} characters right; loss {loss:.6f}", flush=True)
            self.assertAlmostEqual(reported[f"{key}loss"], loss, delta=1e-4 * loss)
            # Counted by position, not by window.
            self.assertAlmostEqual(reported[f"{key}accuracy"] * positions, correct, delta=2)
        # A guess by frequency alone has 3.3 nats.
        self.assertLess(reported["test_loss"], 3.2)

    def test_the_config_says_how_the_model_is_built(self):
        config = json.loads(self.job.get("/config.json"))
        sizes = {key: config[key] for key in ("preset", "context", "layers", "width", "heads")}
        self.assertEqual(sizes, {"preset": "gpt", "context": 32, "layers": 1, "width": 32, "heads": 4})
        self.assertEqual(config["vocabulary"], len(json.loads(self.job.get("/tokenizer.json"))["model"]["vocab"]))


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
