"""Checks, programs and services: what every proof is made of."""

import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

# Longest run of one client program, and longest wait for a condition, in seconds. They only bound a failure.
DEADLINE = 90
PATIENCE = 60


class Skip(Exception):
    """The proof cannot be had on this machine; the text says why."""


class Failed(Exception):
    """The proof failed; the text says where."""


@dataclasses.dataclass(frozen=True)
class Check:
    name: str
    summary: str
    needs: tuple
    run: object


REGISTRY = []


def check(name, *needs):
    """Registers a proof; it is skipped where one of the programs or files in `needs` is missing."""
    def register(function):
        REGISTRY.append(Check(name, function.__doc__.strip().splitlines()[0], needs, function))
        return function
    return register


def run_all(selected, host):
    """Runs the checks; the exit code: 0 only if none failed."""
    results = {"pass": 0, "FAIL": 0, "skip": 0}
    for one in selected:
        began = time.monotonic()
        verdict, detail = verdict_of(one, host)
        results[verdict] += 1
        print(f"{verdict:<4}  {one.name:<28} {time.monotonic() - began:6.1f} s  {one.summary}", flush=True)
        if detail:
            print("      " + detail.strip().replace("\n", "\n      "), flush=True)
    print(f"real clients: {results['pass']} passed, {results['FAIL']} failed, {results['skip']} skipped", flush=True)
    return 1 if results["FAIL"] else 0


def verdict_of(one, host):
    missing = [need for need in one.needs if not available(need)]
    if missing:
        return "skip", "missing: " + ", ".join(missing)
    try:
        one.run(host)
        return "pass", None
    except Skip as reason:
        return "skip", str(reason)
    except Failed as error:
        return "FAIL", str(error)
    except Exception:
        return "FAIL", traceback.format_exc()


def available(need):
    return library(need, optional=True) if "/" in need else shutil.which(need)


def library(pattern, optional=False):
    """The file that matches a pattern like `/usr/lib/*/opensc-pkcs11.so`."""
    found = sorted(pathlib.Path("/").glob(pattern.lstrip("/")))
    if not found and not optional:
        raise Skip(f"missing: {pattern}")
    return str(found[0]) if found else None


def run(argv, *, stdin=None, env=None, expect=0, deadline=DEADLINE, cwd=None):
    """Runs a program to its end; its output. Another exit code than `expect` (None: any) fails the proof."""
    argv = [str(word) for word in argv]
    if isinstance(stdin, str):
        stdin = stdin.encode()
    try:
        done = subprocess.run(
            argv, input=stdin if stdin is not None else b"", env={**os.environ, **(env or {})}, cwd=cwd,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=deadline, check=False,
            start_new_session=True)  # without a controlling terminal: who asks for a PIN reads standard input
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{shown(argv)}\nno end after {deadline} s\n{tail(late.output)}") from None
    if expect is not None and done.returncode != expect:
        raise Failed(f"{shown(argv)}\nexit code {done.returncode}\n{tail(done.stdout)}")
    return Output(argv, done.returncode, done.stdout)


class Output:
    """What a program printed."""

    def __init__(self, argv, code, raw):
        self.argv, self.code, self.raw = argv, code, raw
        self.text = raw.decode(errors="replace")

    def must_say(self, *texts):
        """Fails unless each text is in the output."""
        for text in texts:
            if text not in self.text:
                raise Failed(f"{shown(self.argv)}\ndoes not say {text!r}:\n{tail(self.raw)}")
        return self

    def must_not_say(self, *texts):
        """Fails if one of the texts is in the output."""
        for text in texts:
            if text in self.text:
                raise Failed(f"{shown(self.argv)}\nsays {text!r}:\n{tail(self.raw)}")
        return self


def ensure(condition, text):
    """Fails the proof unless the condition holds."""
    if not condition:
        raise Failed(text)


def wait_until(condition, what, patience=PATIENCE):
    """Polls a condition until it holds; its value."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {patience} s: {what}")
        time.sleep(0.02)


def shown(argv):
    return "$ " + " ".join(argv)


def tail(raw, lines=40):
    text = (raw or b"").decode(errors="replace").rstrip()
    return "\n".join(text.splitlines()[-lines:])


class Service:
    """A program that runs until it is stopped, and whose lines can be waited for."""

    def __init__(self, name, argv, directory, env=None, cwd=None):
        self.name, self.log = name, pathlib.Path(directory) / f"{name}.log"
        self.lines, self.changed = [], threading.Condition()
        self.process = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, cwd=cwd)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with open(self.log, "ab") as log:
            for raw in self.process.stdout:
                log.write(raw)
                log.flush()
                with self.changed:
                    self.lines.append(raw.decode(errors="replace").rstrip("\n"))
                    self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()

    def wait_line(self, text, after=0, patience=PATIENCE):
        """Waits for a line that contains `text`, from line number `after` on; the line."""
        end = time.monotonic() + patience
        with self.changed:
            while True:
                for line in self.lines[after:]:
                    if line is None:
                        raise Failed(f"{self.name} ended:\n{self.tail()}")
                    if text in line:
                        return line
                if not self.changed.wait(max(0.0, end - time.monotonic())) and time.monotonic() > end:
                    raise Failed(f"{self.name} did not say {text!r} within {patience} s:\n{self.tail()}")

    def mark(self):
        """The number of lines up to now, to wait for a later one."""
        with self.changed:
            return len(self.lines)

    def tail(self):
        return "\n".join(line for line in self.lines[-25:] if line is not None)

    def stop(self, how=signal.SIGTERM, patience=20):
        """Stops the program; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"{self.name} did not end within {patience} s after signal {how}") from None
        self.reader.join(patience)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        except Failed as error:
            print(f"      {error}", file=sys.stderr)
