"""Feeds mutated files, tables and run lengths to what reads them, and reports what goes wrong.

    python tools/fuzz.py --inputs 200000

An input must give frames or an error of this package, in 5 seconds of processor time, and with less
than 1 GB of memory. What fails is saved. `--only N` repeats input N in this process.
"""

import os
import resource
import sys
import time
import traceback
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from nerveceg_tf.utils.progress import bar, say

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from damage import Seed, make_seeds, mutated, read_input

SECONDS = 5
# A process that waits, or that shares its processor with others, is given more time than that.
PATIENCE = 60
GIGABYTE = 2**30
_UNIT = 1 if sys.platform == "darwin" else 1024


def main(
    inputs: Annotated[int, typer.Option(help="How many inputs.")] = 200_000,
    seed: Annotated[int, typer.Option(help="Number of the campaign; another gives others.")] = 0,
    first: Annotated[int, typer.Option(help="Number of the first input.")] = 0,
    only: Annotated[int | None, typer.Option(help="Repeat this input alone.")] = None,
    processes: Annotated[int, typer.Option(help="How many processes.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for inputs that fail.")] = Path("fuzz"),
) -> None:
    """Feeds mutated inputs to what reads them."""
    with TemporaryDirectory() as folder:
        seeds = make_seeds(Path(folder))
        if only is not None:
            item = mutated(seeds, seed, only)
            print(f"input {only} of seed {seed}: {item.kind}, {_save(out, only, item)}")
            read_input(item, Path(folder))
            return
    failures = _campaign(seeds, seed, range(first, first + inputs), processes, out)
    counts = Counter(reason.split(":")[0] for reason in failures.values())
    for number, reason in sorted(failures.items()):
        say(f"input {number} (--seed {seed} --only {number}): {reason}")
    say(f"{inputs} inputs, {len(failures)} failed {dict(counts)}", "red" if failures else "green")
    raise typer.Exit(bool(failures))


def _campaign(
    seeds: dict[str, list[Seed]], seed: int, numbers: range, processes: int, out: Path
) -> dict[int, str]:
    """Returns why inputs failed, by their number."""
    workers = [_Worker(seed, numbers[start::processes]) for start in range(processes)]
    failures: dict[int, str] = {}
    with bar() as progress:
        task = progress.add_task("inputs", total=len(numbers), note="")
        while any(not worker.is_done for worker in workers):
            time.sleep(0.2)
            for worker in workers:
                for number, reason in worker.check():
                    failures[number] = reason
                    path = _save(out, number, mutated(seeds, seed, number))
                    say(f"input {number}: {reason} ({path})")
            done = sum(worker.done for worker in workers)
            progress.update(task, completed=done, note=f"{len(failures)} failed")
    return failures


class _Worker:
    """A process that reads inputs, and another one for the rest whenever it ends.

    Args:
        seed: number of the campaign.
        numbers: numbers of its inputs.
    """

    def __init__(self, seed: int, numbers: range):
        self.done, self.is_done = 0, False
        self._seed, self._numbers = seed, numbers
        self._start()

    def check(self) -> list[tuple[int, str]]:
        """Returns the inputs that failed since the last call, with the reason."""
        failed, ended = [], not self._process.is_alive()
        while self._pipe.poll():
            try:
                failed.append(self._pipe.recv())
            except EOFError:
                break
        self.done = self._position.value
        if self.is_done:
            return failed
        if ended:
            if self.done >= len(self._numbers):
                self.is_done = True
            elif self._process.exitcode:  # else it has sent the reason
                failed.append((self._numbers[self.done], f"crash: code {self._process.exitcode}"))
        elif time.monotonic() - self._since.value > PATIENCE and self.done < len(self._numbers):
            self._process.kill()
            self._process.join()
            failed.append((self._numbers[self.done], f"hang: over {PATIENCE} s"))
            ended = True
        if ended and not self.is_done:
            self.done += 1
            self._start()
        return failed

    def _start(self) -> None:
        context = get_context("spawn")
        self._position = context.Value("q", self.done)
        self._since = context.Value("d", time.monotonic() + PATIENCE)  # it has to start first
        self._pipe, other = context.Pipe(duplex=False)
        arguments = self._seed, self._numbers, self._position, self._since, other
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        other.close()


def _work(seed: int, numbers: range, position, since, pipe) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries write there about damage
    with TemporaryDirectory() as name:
        folder = Path(name)
        seeds = make_seeds(folder)
        before = _memory()
        for number in numbers[position.value :]:
            since.value, started = time.monotonic(), time.process_time()
            reason = _failure(mutated(seeds, seed, number), folder)
            seconds, gigabytes = time.process_time() - started, (_memory() - before) / GIGABYTE
            if reason is None and seconds > SECONDS:
                reason = f"slow: {seconds:.1f} s"
            if reason is None and gigabytes > 1:
                reason = f"memory: {gigabytes:.1f} GB"
            if reason:
                pipe.send((number, reason))
            if gigabytes > 1:
                return  # the peak of a process never falls
            position.value += 1


def _failure(item: Seed, folder: Path) -> str | None:
    try:
        read_input(item, folder)
    except Exception as error:  # any exception is a finding
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).replace("\n", " ")[:160]
        return f"{type(error).__name__}: {text} [{Path(place.filename).name}:{place.lineno}]"
    return None


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def _save(out: Path, number: int, item: Seed) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{number}_{Path(item.name).name}"
    path.write_bytes(item.content)
    return path


if __name__ == "__main__":
    typer.run(main)
