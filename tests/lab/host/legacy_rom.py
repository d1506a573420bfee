#!/usr/bin/env python3
"""Makes QEMU's iPXE option ROM look like Intel's legacy PXE ROM on the wire.

No free BIOS PXE ROM other than iPXE is packaged, but a server treats iPXE differently from its first packet on. This program
stands between QEMU (-netdev dgram over unix sockets, one frame per datagram) and a tap of the switch. It rewrites the ROM's DHCP
requests (ports 67 and 4011) until the ROM's first TFTP request: from then on the program that it loaded, a real iPXE of the
server's, speaks for itself and nothing is touched.

Usage: legacy_rom.py TAP FROM_QEMU_SOCKET TO_QEMU_SOCKET
"""

import fcntl
import os
import select
import socket
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
COOKIE = b"\x63\x82\x53\x63"
# Options that give iPXE away: 77 user class, 175 its own, 61 client identifier (Intel's ROM sends none).
DROPPED = {77, 175, 61}
# Parameter list and limits as Intel's Boot Agent sends them (PXE 2.1, table 2-1).
INTEL = {
    55: bytes([1, 2, 3, 4, 5, 6, 11, 12, 13, 15, 16, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67]
              + list(range(128, 136))),
    57: struct.pack(">H", 1260),
    93: b"\x00\x00",
    94: b"\x01\x02\x01",
}
LEAST_LENGTH = 548  # of the DHCP message, which Intel's ROM always fills up


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def options_of(data: bytes) -> list[tuple[int, bytes]]:
    options, at = [], 0
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        if at + 2 > len(data):
            break
        length = data[at + 1]
        options.append((data[at], data[at + 2 : at + 2 + length]))
        at += 2 + length
    return options


def as_legacy(message: bytes) -> bytes:
    """One DHCP message of the iPXE ROM, as Intel's ROM would have sent it."""
    fixed = bytearray(message[:236])
    fixed[10] |= 0x80  # broadcast flag
    options = [(code, INTEL.get(code, value)) for code, value in options_of(message[240:]) if code not in DROPPED]
    present = {code for code, _ in options}
    options += [(code, value) for code, value in INTEL.items() if code not in present]
    encoded = b"".join(bytes([code, len(value)]) + value for code, value in options) + b"\xff"
    return (bytes(fixed) + COOKIE + encoded).ljust(LEAST_LENGTH, b"\0")


class Shim:
    def __init__(self) -> None:
        self.rom_is_speaking = True

    def outgoing(self, frame: bytes) -> bytes:
        if not self.rom_is_speaking or len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] != 17:
            return frame
        header = (frame[14] & 15) * 4
        ip, udp = frame[14 : 14 + header], frame[14 + header :]
        port = struct.unpack(">H", udp[2:4])[0]
        if port == 69:
            self.rom_is_speaking = False
            print("first TFTP request: nothing is rewritten any more", flush=True)
            return frame
        length = struct.unpack(">H", udp[4:6])[0]
        message = udp[8:length]
        if port not in (67, 4011) or message[236:240] != COOKIE:
            return frame
        message = as_legacy(message)
        print(f"rewrote a DHCP request to port {port}", flush=True)
        head = udp[:4] + struct.pack(">H", 8 + len(message))
        pseudo = ip[12:20] + struct.pack(">BBH", 0, 17, 8 + len(message))
        total = checksum(pseudo + head + b"\0\0" + message) or 0xFFFF
        new_ip = bytearray(ip)
        struct.pack_into(">H", new_ip, 2, header + 8 + len(message))
        struct.pack_into(">H", new_ip, 10, 0)
        struct.pack_into(">H", new_ip, 10, checksum(bytes(new_ip)))
        return frame[:14] + bytes(new_ip) + head + struct.pack(">H", total) + message


def deliver(qemu: socket.socket, frame: bytes, to_qemu: str) -> None:
    """Waits while QEMU's queue is full: frames that are dropped here would halve the guest's TCP rate each time."""
    for _ in range(200):
        try:
            qemu.sendto(frame, to_qemu)
            return
        except BlockingIOError:
            time.sleep(0.0005)


def main() -> None:
    tap_name, from_qemu, to_qemu = sys.argv[1:4]
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", tap_name.encode(), IFF_TAP | IFF_NO_PI))
    qemu = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    qemu.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    qemu.setblocking(False)
    qemu.bind(from_qemu)
    shim = Shim()
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([tap, qemu], [], [])
        for source in readable:
            try:
                if source is tap:
                    while True:
                        deliver(qemu, os.read(tap, 65536), to_qemu)
                else:
                    while True:
                        os.write(tap, shim.outgoing(qemu.recv(65536)))
            except (BlockingIOError, FileNotFoundError, ConnectionRefusedError):
                # Nothing left to read; or QEMU is not there yet, or any more: a network drops such frames.
                continue


main()
