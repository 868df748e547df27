"""A party's way to the coordinator that counts what goes along it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

PIECE = 1 << 16


class Meter:
    """Listens on `port` and passes on to `target`. up, down: bytes so far. A context manager."""

    def __init__(self, port: int, target: int) -> None:
        self._port, self._target = port, target
        self.up = self.down = 0
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _serve(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # the coordinator does not listen yet: the party dials again
                    near.close()
                    continue
                self._open += [near, far]
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, there: socket.socket, on: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while data := there.recv(PIECE):
                if up:
                    self.up += len(data)
                else:
                    self.down += len(data)
                on.sendall(data)
        for each in (there, on):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
