#!/usr/bin/env python3
"""Makes one TCP port of another network namespace reachable on this one's loopback.

Usage: forward.py LOCAL_PORT NAMESPACE HOST PORT. The listener is opened here, then the process moves into the namespace, where it
makes the connections: a socket stays in the namespace that it was made in.
"""

import ctypes
import os
import socket
import sys
import threading

CLONE_NEWNET = 0x40000000


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client: socket.socket, target: tuple[str, int]) -> None:
    with client:
        try:
            server = socket.create_connection(target, timeout=10)
        except OSError:
            return
        with server:
            server.settimeout(None)
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join()


def main() -> None:
    port, namespace, host, target_port = sys.argv[1:5]
    listener = socket.create_server(("127.0.0.1", int(port)))
    print(listener.getsockname()[1], flush=True)
    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
        sys.exit(f"setns: {os.strerror(ctypes.get_errno())}")
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, (host, int(target_port))), daemon=True).start()


main()
