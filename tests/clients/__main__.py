"""Runs the proofs with real clients and says which passed, failed or were skipped."""

import argparse
import pathlib
import shutil
import sys
import tempfile

import checks  # noqa: F401  (registers the checks)
from harness import REGISTRY, Failed, run_all
from host import Host

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(prog="tests/clients/run", description=__doc__)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release", help="where the programs are")
    parser.add_argument("--venv", type=pathlib.Path, default=ROOT / "target/venv", help="Python with yubikit")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only these checks")
    parser.add_argument("--list", action="store_true", help="list the checks and end")
    parser.add_argument("--keep", action="store_true", help="keep the working directory with all logs")
    return parser.parse_args()


def main():
    options = arguments()
    if options.list:
        for check in REGISTRY:
            print(f"{check.name:<28} {check.summary}")
        return 0
    selected = [check for check in REGISTRY if not options.only or check.name in options.only]
    unknown = set(options.only) - {check.name for check in REGISTRY}
    if unknown or not selected:
        print(f"no such check: {', '.join(sorted(unknown))}; --list shows them", file=sys.stderr)
        return 2
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cardhost-clients-"))
    code = serve_and_run(options, selected, directory)
    if options.keep or code != 0:
        print(f"logs: {directory}", file=sys.stderr)
    else:
        shutil.rmtree(directory)
    return code


def serve_and_run(options, selected, directory):
    try:
        with Host(options.bin, options.venv, directory) as host:
            return run_all(selected, host)
    except Failed as error:
        print(f"FAIL  set-up\n{error}", file=sys.stderr)
        return 1


sys.exit(main())
