"""What a process occupies, over time: whether it grows."""

import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["LONG_S", "MOST_SLOPE_MB_H", "WARM_UP_S", "Memory", "resident_bytes"]

MOST_SLOPE_MB_H = 1.0
"""Growth that is none; from 20 minutes on, because over less a regression says nothing."""
LONG_S = 20 * 60
WARM_UP_S = 10 * 60
"""Until the caches hold as many records and targets as they may."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int | str = "self") -> int:
    """Resident set of a process, this one by default."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


@dataclass
class Memory:
    """Samples of one process.

    Attributes:
        samples: (seconds since the beginning, bytes).
    """

    samples: list[tuple[float, int]] = field(default_factory=list)

    def sample(self, at_s: float, pid: int) -> int:
        """Look now."""
        self.samples.append((at_s, resident_bytes(pid)))
        return self.samples[-1][1]

    def slope_mb_h(self) -> float:
        """Growth after the warm-up, by linear regression, in MB an hour; the warm-up is ten minutes, or half of what is less than twenty."""
        warm_s = min(self.samples[-1][0] / 2, WARM_UP_S)
        warm = [(at_s, size) for at_s, size in self.samples if at_s >= warm_s]
        if len(warm) < 2:
            return 0.0
        slope, _ = statistics.linear_regression([at_s for at_s, _ in warm], [size for _, size in warm])
        return slope * 3_600 / 1e6

    @property
    def grows(self) -> bool:
        """Whether it grows; never over less than twenty minutes."""
        return self.samples[-1][0] >= LONG_S and self.slope_mb_h() >= MOST_SLOPE_MB_H

    def __str__(self) -> str:
        first, last = self.samples[0][1], self.samples[-1][1]
        return f"memory: {first / 1e6:.1f} MB at first, {last / 1e6:.1f} MB at last, slope {self.slope_mb_h():+.2f} MB/h after the warm-up"
