"""The locust user: one connection of the sender of this process."""

import gevent
from locust import User, task


class OpenLoopUser(User):  # type: ignore[misc] # locust has no types that mypy may follow
    """Opens a connection and then idles: the conductor's plan decides what is sent and when."""

    def on_start(self) -> None:
        self.environment.sender.open()

    @task  # type: ignore[untyped-decorator]
    def stay(self) -> None:
        gevent.sleep(3600)
