#!/usr/bin/env python3
"""Runs the unit test programs and the cluster scenarios of a build; prints one line a test and the totals.

    tests/run.py [--only TEXT] [--build PRESET] [--fuzz SECONDS]

TEXT: part of a test's name; PRESET: release unless given, debug and tsan have sanitizers, whose reports fail the run;
SECONDS: how long each fuzz target of the fuzz build runs
"""
import argparse
import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))
sys.path.insert(0, str(ROOT / "tests/conformance"))
sys.path.insert(0, str(ROOT / "tests/fuzz"))


def unit_tests(build):
    environment = dict(os.environ)
    for sanitizer in ("ASAN", "UBSAN", "TSAN"):
        environment.setdefault(sanitizer + "_OPTIONS", "halt_on_error=1:print_stacktrace=1" if sanitizer == "UBSAN" else "halt_on_error=0")
    for program in sorted(build.glob("tests/unit/**/unit_*")):
        if not program.is_file() or not program.stat().st_mode & 0o100:
            continue
        def run(program=program):
            r = subprocess.run([str(program)], capture_output=True, text=True, timeout=300 if build.name == "release" else 3000, cwd=build, env=environment)
            if r.returncode != 0:
                raise AssertionError(r.stdout[-8000:] + r.stderr[-2000:])
        yield "unit " + program.name.removeprefix("unit_"), run


def cluster_tests():
    """Each tests/cluster/test_*.py (and of conformance) has `scenario()`: a generator of (name, function) on one cluster, closed at the end."""
    for path in sorted((ROOT / "tests").glob("c*/test_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield path.stem.removeprefix("test_"), module


def explain(e):
    """What a failure says, or where it happened when it says nothing."""
    return str(e) if type(e).__name__ in ("Failure", "Finding") else traceback.format_exc(limit=-2)


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--fuzz", type=int, default=0)
    parser.add_argument("--build", default="release")
    arguments = parser.parse_args()
    os.environ["APPLIANCE_BUILD"] = arguments.build
    only = arguments.only
    passed, failed = 0, []

    def attempt(name, function):
        nonlocal passed
        begin = time.monotonic()
        try:
            function()
            passed += 1
            print(f"ok      {name} ({time.monotonic() - begin:.1f} s)", flush=True)
            return True
        except (Exception, SystemExit) as e:
            failed.append(name)
            print(f"FAILED  {name} ({time.monotonic() - begin:.1f} s)\n{explain(e)}", flush=True)
            return False

    for name, function in unit_tests(ROOT / "build" / arguments.build):
        if only in name:
            attempt(name, function)

    if arguments.fuzz:
        import fuzzing
        for name, running in fuzzing.start([n for n in fuzzing.targets() if only in f"fuzz {n}"], arguments.fuzz, seed=1):
            attempt(f"fuzz {name}", running.result)

    import harness
    before = harness.leftovers()
    for name, module in cluster_tests():
        if only and only not in name and not any(only in n for n in getattr(module, "NAMES", [])):
            continue
        scenario = module.scenario()
        try:
            for test, function in scenario:
                attempt(f"{name}: {test}", function)
        except (Exception, SystemExit) as e:
            failed.append(name)
            print(f"FAILED  {name}: set-up\n{explain(e)}", flush=True)
        finally:
            scenario.close()
        if harness.Cluster.reports:
            reports, harness.Cluster.reports = harness.Cluster.reports, []
            failed.append(name)
            print(f"FAILED  {name}: {len(reports)} sanitizer reports\n" + "\n\n".join(reports), flush=True)
    left = [l for l in harness.leftovers() if l not in before]
    if not only or "leftovers" in only:
        attempt("nothing is left behind", lambda: (_ for _ in ()).throw(AssertionError("\n".join(left))) if left else None)

    for name in failed:
        print("failed:", name)
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
