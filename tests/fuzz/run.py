"""Feeds damaged files to the decoder and to the readers, and counts what comes of them.

    python -m tests.fuzz.run --inputs 20000

Every input must end in rows and rejects. An exception is an escape, a dead worker a crash, ten seconds a hang. Every
other input is a shard with a lie in a header or a footer and checksums that are right: of these each whole image must
be a row, or a reject, or lie behind a `damaged_shard`; else it is a loss.
"""

import argparse
import collections
import multiprocessing
import pathlib
import random
import resource
import sys
import time
import traceback

import numpy as np

from tests.fuzz.headers import lost, nth_lie
from tests.fuzz.mutations import Seed, mutate, seeds, with_file
from tests.shard_writers import shard_of
from transforms.read.batches import Decoder
from transforms.read.fields import USUAL_FIELDS
from transforms.read.formats.registry import FORMATS
from transforms.records import Reject, Sample

_HANG_SECONDS = 10
_DECODER = Decoder(side_px=32, preview_px=32)


def try_content(seed: Seed, content: bytes) -> collections.Counter:
    """Returns how many rows, and rejects by error type, a file ends in."""
    if seed.target == "decode":
        return outcomes([Sample("x", "x", content)])
    read = FORMATS[seed.target].read
    return with_file(seed, content, lambda path: outcomes(read(shard_of(path, seed.target), USUAL_FIELDS)))


def outcomes(samples) -> collections.Counter:
    """Returns how many rows, and rejects by error type, samples end in."""
    counts: collections.Counter = collections.Counter()
    for index, sample in enumerate(samples):
        decoded = _DECODER(sample, index, np.empty((_DECODER.side_px, _DECODER.side_px, 3), np.uint8))
        for text in decoded[:2]:
            text.encode()  # else it could not be written
        counts[str(decoded.error_type) if isinstance(decoded, Reject) else "row"] += 1
    return counts


def try_lie(number: int) -> tuple[str, collections.Counter, list[int]]:
    """Returns the format of lie `number`, what it ends in, and which whole images are lost without a word."""
    lie = nth_lie(number)
    seed = Seed("lie", lie.format, lie.content)
    found: list = []

    def read(path):
        found.extend(FORMATS[lie.format].read(shard_of(path, lie.format), USUAL_FIELDS))

    with_file(seed, lie.content, read)
    return lie.format, outcomes(found), lost(lie, found)


def nth_input(number: int, all_seeds: list[Seed]) -> tuple[Seed, bytes]:
    """Returns input `number`: the same in every run."""
    seed = all_seeds[number % len(all_seeds)]
    return seed, mutate(seed, random.Random(number))


def _work(first: int, last: int, pipe) -> None:
    all_seeds = seeds()
    for number in range(first, last):
        seed, content = nth_input(number, all_seeds)
        target, outcomes, problem = seed.target, collections.Counter(), None
        try:
            if number % 2:
                target, outcomes, missing = try_lie(number)
                problem = f"lost images {missing}" if missing else None
            else:
                outcomes = try_content(seed, content)
        except Exception:
            problem = traceback.format_exc()
        pipe.send((number, target, outcomes, problem, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input, to try one again")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for inputs that escape, crash or hang")
    arguments = parser.parse_args(argv)
    tally: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    bad: collections.Counter = collections.Counter()
    peak_kib, slowest, started = 0, (0.0, -1), time.monotonic()
    number, last = arguments.first, arguments.first + arguments.inputs
    while number < last:
        here, there = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.Process(target=_work, args=(number, last, there), daemon=True)
        worker.start()
        there.close()
        while number < last:
            begun = time.monotonic()
            try:
                if not here.poll(_HANG_SECONDS):
                    problem = "hangs"
                    break
                number, target, outcomes, problem, kib = here.recv()
            except EOFError:
                problem = "crashes"
                break
            slowest = max(slowest, (time.monotonic() - begun, number))
            tally[target].update(outcomes)
            tally[target]["inputs"] += 1
            peak_kib = max(peak_kib, kib)
            if problem:
                bad["losses" if problem.startswith("lost") else "escapes"] += 1
                _report(number, problem, arguments.keep)
            number += 1
        else:
            problem = None
        if problem in ("hangs", "crashes"):
            bad[problem] += 1
            _report(number, problem, arguments.keep)
            number += 1
        worker.kill()
        worker.join()
    for target, counts in tally.items():
        inputs, rows = counts.pop("inputs"), counts.pop("row", 0)
        rejects = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        print(f"{target}: {inputs} inputs, {rows} rows, {counts.total()} rejects ({rejects})")
    print(", ".join(f"{kind} {bad[kind]}" for kind in ("escapes", "crashes", "hangs", "losses")))
    print(f"peak memory {peak_kib / 1024:.0f} MiB, slowest input {slowest[1]} {slowest[0]:.2f} s,", end=" ")
    print(f"all {time.monotonic() - started:.0f} s")
    return int(bool(bad))


def _report(number: int, problem: str, keep: pathlib.Path | None) -> None:
    seed, content = nth_input(number, seeds())
    if number % 2:
        lie = nth_lie(number)
        seed, content = Seed(f"{lie.what}.{lie.format}", lie.format, lie.content), lie.content
    print(f"input {number} ({seed.name}): {problem}", file=sys.stderr)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{number}-{seed.name}").write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
