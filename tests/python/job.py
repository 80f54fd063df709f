"""Trains a job with the real programs: a coordinator and two volunteers, on this machine."""

import json
import os
import queue
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# One budget for everything that is waited for; a run takes a few seconds.
PATIENCE_SECONDS = 180


def potluck():
    """The program under test."""
    path = Path(os.environ.get("POTLUCK_BIN", ROOT / "target/debug/potluck"))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: run `cargo build` first, or name the program in POTLUCK_BIN")
    return path


class Job:
    """A job that was trained to its end; the coordinator answers until `close`."""

    def __init__(self, job_file, name):
        self.deadline = time.monotonic() + PATIENCE_SECONDS
        self.name = name
        self.folder = tempfile.TemporaryDirectory(prefix="potluck-python-")
        self.processes = []
        try:
            serve, said = self.start("serve", str(job_file), "--folder", self.folder.name, "--listen", "127.0.0.1:0")
            self.url = self.address(said)
            for _ in range(2):
                self.start("volunteer", self.url, "--job", name, "--backend", "cpu")
            self.wait_until_reported()
        except BaseException:
            self.close()
            raise

    def start(self, *arguments):
        """Starts the program; its lines come out of the queue, and `None` at their end."""
        process = subprocess.Popen(
            [str(potluck()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self.processes.append(process)
        lines = queue.Queue()

        def read():
            for line in process.stdout:
                lines.put(line.rstrip())
            process.stdout.close()
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        return process, lines

    def address(self, lines):
        """Where the coordinator listens, from what it says."""
        said = []
        while True:
            line = lines.get(timeout=self.seconds_left())
            if line is None:
                raise RuntimeError("potluck serve ended early; it said:\n" + "\n".join(said))
            said.append(line)
            if line.startswith("listening "):
                return line.removeprefix("listening ").rstrip("/")

    def wait_until_reported(self):
        """Follows the job's events until its last version has been evaluated on `test`."""
        request = f"{self.url}/api/v1/jobs/{self.name}/events"
        with urllib.request.urlopen(request, timeout=self.seconds_left()) as events:
            kind = ""
            for line in events:
                self.seconds_left()
                field, _, text = line.decode("utf-8").rstrip("\r\n").partition(":")
                if field == "event":
                    kind = text.strip()
                elif field == "data" and kind == "job" and json.loads(text)["phase"] == "finished":
                    if self.last_version()["test_accuracy"] is not None:
                        return
        raise RuntimeError("the coordinator closed its events before the job was evaluated")

    def last_version(self):
        """The row of the version that the job ended with."""
        versions, cursor = [], None
        while True:
            query = "" if cursor is None else f"?cursor={cursor}"
            page = json.loads(self.get(f"/history{query}"))
            versions += page["versions"]
            cursor = page["cursor"]
            if cursor is None:
                return max(versions, key=lambda row: row["version"])

    def get(self, path):
        """The body of an answer of the API."""
        address = f"{self.url}/api/v1/jobs/{self.name}{path}"
        with urllib.request.urlopen(address, timeout=self.seconds_left()) as answer:
            return answer.read()

    def seconds_left(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not done after {PATIENCE_SECONDS} seconds")
        return left

    def close(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.folder.cleanup()
