"""How the generator measures its own delay."""

import asyncio
import signal

from onnxpress.loadtests.generator.transport import connect, end_at_once


def test_the_observation_delay_is_measured_without_the_server(proof):
    """A call that is over at once is seen although the server stands still: its delay is the generator's alone."""
    server = proof()

    async def ends() -> None:
        channel = await connect(server.target)
        server.process.send_signal(signal.SIGSTOP)
        try:
            seen = asyncio.Event()
            end_at_once(channel, seen.set)
            await asyncio.wait_for(seen.wait(), 10)
        finally:
            server.process.send_signal(signal.SIGCONT)
            await channel.close()

    asyncio.run(ends())
