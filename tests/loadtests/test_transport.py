"""What the generator says of itself, told in a process of its own: gevent changes grpc for good."""

import signal
import subprocess
import sys

from tests.loadtests.conftest import ENVIRONMENT, SECONDS_MAX

# The server is stopped between the two lines that this prints.
PROBE = """
import sys
from gevent.event import Event
from loadtests.transport import connect, end_at_once, start_gevent

start_gevent(1)
channel = connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.readline()
seen = Event()
end_at_once(channel, seen.set)
print("seen" if seen.wait(10) else "lost", flush=True)
"""


def test_the_way_back_is_measured_without_the_server(proof):
    """A call that is over at once is seen although the server stands still: its delay is the generator's alone."""
    server = proof()
    command = [sys.executable, "-c", PROBE, server.target]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True) as probe:
        assert probe.stdout.readline() == "connected\n"
        server.process.send_signal(signal.SIGSTOP)
        said, _ = probe.communicate("go\n", timeout=SECONDS_MAX)
        server.process.send_signal(signal.SIGCONT)
    assert said == "seen\n"
