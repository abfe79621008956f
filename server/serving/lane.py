"""A lane: a loaded version with its session, queue and counts."""

from onnxpress.packages.compatibility import Interface
from onnxpress.server.facts import LaneId
from onnxpress.server.serving.batching import Queue
from onnxpress.server.serving.contract import Contract
from onnxpress.server.serving.cost import CostModel
from onnxpress.server.serving.runtime import Session
from onnxpress.server.serving.tensors import interned


class Lane:
    """The queue and run slots of one loaded version.

    `queue`, `cost` and the counts belong to the Scheduler and change under its lock only; the rest never changes.
    """

    def __init__(
        self,
        model: str,
        version: int,
        session: Session,
        digest: str,
        contract: Contract,
        cost: CostModel,
        interface: Interface = Interface((), ()),  # noqa: B008 -- immutable
    ) -> None:
        self.model = model
        self.version = str(version)
        self.session = session
        self.signature = interned(session.signature)
        self.digest = digest
        self.id = LaneId(model, self.version, digest)
        self.contract = contract
        self.cost = cost
        self.interface = interface
        self.queue = Queue()
        self.running = 0  # batches
        self.last_request_ns = 0  # monotonic ns of the newest request's arrival
        self.queued_since = 0  # monotonic ns at which the queue was last empty
        self.held = 0  # leases: requests that are queued, running or being answered

    def __repr__(self) -> str:
        return f"Lane({self.model}/{self.version}, queued={self.queue.rows}, running={self.running}, held={self.held})"
