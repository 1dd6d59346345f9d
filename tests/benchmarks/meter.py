"""What a process uses, with everything below it, as the kernel counts it: seen from outside, so that no child and no thread is left out.

``ru_maxrss`` is of no use here: a process inherits the peak of whoever started it. ``VmHWM`` begins with the program.
"""

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class Meter:
    """Of one process and its descendants."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def _family(self) -> list[Path]:
        found, new = [], [self._pid]
        while new:
            folder = _PROC / str(new.pop())
            found.append(folder)
            try:
                for thread in (folder / "task").iterdir():
                    new += map(int, (thread / "children").read_text().split())
            except OSError:
                continue  # it has just ended
        return found

    def cpu_s(self) -> float:
        """Processor time so far of all of them, and of those that have ended and were waited for; to a hundredth of a second."""
        ticks = 0
        for folder in self._family():
            try:
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += sum(map(int, after_name[11:15]))
        return ticks * _TICK_S

    def reads(self) -> tuple[int, int]:
        """How often they have read from files so far, and how many bytes of that the disk had to give."""
        calls = disk = 0
        for folder in self._family():
            try:
                told = dict(line.split(": ") for line in (folder / "io").read_text().splitlines())
            except OSError:
                continue
            calls += int(told["syscr"])
            disk += int(told["read_bytes"])
        return calls, disk

    def memory_mb(self) -> float:
        """Resident now."""
        pages = 0
        for folder in self._family():
            try:
                pages += int((folder / "statm").read_text().split()[1])
            except OSError:
                continue
        return pages * _PAGE / 1e6

    def peak_mb(self) -> float:
        """The most that each of them has had, added up."""
        return sum(peak_mb(folder) for folder in self._family())


def peak_mb(folder: Path = _PROC / "self") -> float:
    """The most memory that a process has had."""
    try:
        lines = (folder / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))
