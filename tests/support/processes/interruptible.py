"""Child processes that SIGINT reaches, also when the suite runs in the background.

A shell starts a background job (``pytest &``, nohup, most CI runners) with SIGINT ignored, and a child inherits that through exec: Python
then installs no KeyboardInterrupt, and a test that presses Ctrl-C waits for a process which never heard it. A handler, unlike SIG_IGN, is
reset to the default by exec; so while a child is started, an ignored SIGINT is replaced by a handler that does nothing.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Start children in here; in the suite itself SIGINT stays ignored if it was."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
