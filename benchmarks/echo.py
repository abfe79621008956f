"""The upper limit: the native front alone, which answers every request with its own bytes. Prints its port."""

import threading

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from benchmarks.generator import METHOD

THREADS = 2
RECEIVE_MAX = 256
STREAMS_MAX = 256


def pump(front: NativeGrpcFront) -> None:
    respond = front.respond
    while (events := front.recv_batch_details(RECEIVE_MAX)) is not None:
        for event in events:
            if event[0] == EVENT_CALL:
                respond(event[1], event[3])


def main() -> None:
    # The same settings as in the server, so that the difference between the two is the server's work.
    front = NativeGrpcFront(
        "127.0.0.1:0", [(METHOD, False)], call_details=True, max_concurrent_streams=STREAMS_MAX
    )  # fmt: skip
    front.start()
    threads = [threading.Thread(target=pump, args=(front,), daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    print(f"listening: {front.bound_port}", flush=True)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
