"""A command that is killed in the middle of its work."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence


def kill_when(ready: Callable[[], bool], command: Sequence[str], seconds: float) -> None:
    """Start the command, and end its process group by SIGKILL once it is `ready` (or after so many seconds); it must
    not have ended by itself."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + seconds
    while not ready() and process.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
