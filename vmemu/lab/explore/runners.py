# SPDX-License-Identifier: GPL-2.0-or-later
"""Who runs executions: this process, or several. Either way they come back in the order of their plans."""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from vmemu.errors import ConfigError, VmemuError
from vmemu.lab.explore.decisions import Plan
from vmemu.lab.explore.execution import Execution

#: A process takes at most so many plans at a time, and more or fewer than before when they took less or more than so long.
_MOST, _SHORT_S, _LONG_S = 32, 0.02, 0.1
_LOOK_S = 0.1


class Executor(Protocol):
    """Something to explore: `execution.Explorer` is one."""

    def run(self, plan: Plan) -> Execution: ...
    def close(self) -> None: ...


class Runner(ABC):
    """Runs plans. `stopped` is asked now and then; once it says yes, `results` ends early."""

    @abstractmethod
    def results(self, plans: Sequence[Plan], stopped: Callable[[], bool]) -> Iterator[Execution]:
        """In the order of the plans, at least up to the first with a violation."""

    @abstractmethod
    def close(self) -> None: ...


class Here(Runner):
    """In this process."""

    def __init__(self, make: Callable[[], Executor]) -> None:
        self.executor = make()

    def results(self, plans: Sequence[Plan], stopped: Callable[[], bool]) -> Iterator[Execution]:
        for plan in plans:
            if stopped():
                return
            yield self.executor.run(plan)

    def close(self) -> None:
        self.executor.close()


def _serve(make: Callable[[], Executor], connection: Connection) -> None:
    """A worker process: chunks of plans in, chunks of executions out. Ctrl-C is for its parent, which then closes the line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        executor = make()
        connection.send(None)
        while (job := connection.recv()) is not None:
            number, plans = job
            started = time.monotonic()
            executions = [executor.run(plan) for plan in plans]
            connection.send((number, executions, time.monotonic() - started))
    except (EOFError, BrokenPipeError):
        return
    except VmemuError as error:
        connection.send(error)
    except Exception:
        connection.send(traceback.format_exc())


class Pool(Runner):
    """In `jobs` processes, each with a machine of its own."""

    def __init__(self, make: Callable[[], Executor], jobs: int) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ConfigError("--jobs needs a system that can fork")
        context = multiprocessing.get_context("fork")  # a scenario is code: it cannot be sent
        self._lines: list[Connection] = []
        self._processes = []
        for _ in range(jobs):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(make, theirs), daemon=True)
            process.start()
            theirs.close()
            self._lines.append(mine)
            self._processes.append(process)
        #: Workers that have nothing to do; they say so once they have booted.
        self._free: list[Connection] = []
        self._chunk = 1

    def _receive(self, line: Connection) -> Any:
        try:
            answer = line.recv()
        except EOFError:
            raise VmemuError("a worker process ended by itself") from None
        if isinstance(answer, VmemuError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(f"in a worker process:\n{answer}")
        self._free.append(line)
        return answer

    def results(self, plans: Sequence[Plan], stopped: Callable[[], bool]) -> Iterator[Execution]:
        if not self._lines:
            raise ValueError("these processes have been given up")
        done: dict[int, Execution] = {}
        sent = received = given = 0
        end = len(plans)  # no plan from here on is of interest: one before it violates something
        try:
            while given < end:
                if stopped():
                    return
                while self._free and sent < end:
                    chunk = plans[sent : min(sent + self._chunk, end)]
                    self._free.pop().send((sent, chunk))
                    sent += len(chunk)
                busy = [line for line in self._lines if line not in self._free]
                for line in wait(busy, _LOOK_S):
                    assert isinstance(line, Connection)
                    answer = self._receive(line)
                    if answer is None:
                        continue
                    first, executions, seconds = answer
                    received += len(executions)
                    self._adapt(len(executions), seconds)
                    for number, execution in enumerate(executions, first):
                        done[number] = execution
                        if execution.violations:
                            end = min(end, number + 1)
                while given in done and given < end:
                    yield done.pop(given)
                    given += 1
        finally:
            if sent > received:  # nobody waits for these any more: they must not be taken for answers to the next plans
                self.close()

    def _adapt(self, count: int, seconds: float) -> None:
        """Long executions are given out one by one, so that nobody waits for the last chunk; short ones in chunks."""
        if count == self._chunk and seconds < _SHORT_S:
            self._chunk = min(2 * self._chunk, _MOST)
        elif seconds > _LONG_S:
            self._chunk = max(self._chunk // 2, 1)

    def close(self) -> None:
        for line in self._lines:
            line.close()
        for process in self._processes:
            process.terminate()
            process.join()
        self._lines.clear()
        self._processes.clear()
        self._free.clear()


def runner_for(make: Callable[[], Executor], jobs: int) -> Runner:
    """Of so many processes."""
    return Here(make) if jobs == 1 else Pool(make, jobs)
