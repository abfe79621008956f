"""The locust user: one connection of this process's sender, which sends the connection's share of the plan."""

import gevent
from locust import User, task


class OpenLoopUser(User):  # type: ignore[misc] # locust has no types that mypy may follow
    """Opens its connection and stays: what is sent when is the conductor's plan, not the user's."""

    def on_start(self) -> None:
        self.environment.sender.open()

    @task  # type: ignore[untyped-decorator]
    def stay(self) -> None:
        gevent.sleep(3600)
