"""Runs fuzz targets, two at a time. The corpus grows in the build directory; what breaks a target is left in its `findings`."""
import concurrent.futures
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build/fuzz"


class Finding(Exception):
    pass


def targets():
    return sorted(p.stem for p in pathlib.Path(__file__).parent.glob("*.cc") if p.stem != "fuzz")


def run(name, seconds, seed=0):
    """`seed` other than 0 walks the same way each time. A line of figures; a Finding when an input crashes, hangs, leaks or takes too much memory."""
    program = BUILD / f"tests/fuzz/fuzz_{name}"
    if not program.exists():
        raise Finding(f"{program} is not there: cmake --preset fuzz && cmake --build --preset fuzz")
    corpus, findings = BUILD / "corpus" / name, BUILD / "findings" / name
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    flags = [f"-max_total_time={seconds}", "-max_len=65536", f"-seed={seed}", "-timeout=30", "-rss_limit_mb=1024", "-print_final_stats=1", f"-artifact_prefix={findings}/"]
    r = subprocess.run([str(program), *flags, str(corpus)], capture_output=True, text=True, errors="replace", timeout=seconds + 300)
    number = lambda key: int(m[1]) if (m := re.search(rf"stat::{key}:\s*(\d+)", r.stderr)) else 0
    if r.returncode != 0:
        where = re.search(r"Test unit written to (\S+)", r.stderr)
        raise Finding(f"{where[1] if where else 'no input was kept'}\n{r.stderr[-6000:]}")
    return f"{number('number_of_executed_units')} inputs, {sum(1 for _ in corpus.iterdir())} kept, {number('peak_rss_mb')} MB"


def start(names, seconds, seed=0):
    """A future a target, in the order given."""
    pool = concurrent.futures.ThreadPoolExecutor(2)
    return [(name, pool.submit(run, name, seconds, seed)) for name in names]
