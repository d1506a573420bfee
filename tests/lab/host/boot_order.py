#!/usr/bin/env python3
"""Sets the UEFI boot order of a machine that is off: one network entry, then the disk, then everything else.

Usage: boot_order.py VARS_FILE NETWORK_PREFIX (such as "UEFI PXEv4"). QEMU's bootindex can only put all entries of a NIC before the disk:
PXE and HTTP over IPv4 and IPv6, a minute of waiting each on a LAN where nobody answers. People order entries in the firmware's
setup; this does the same in OVMF's variable store (EDK2 AuthenticatedVariableFormat.h: records of a 60-byte header, name, data).
"""

import struct
import sys

HEADER, VALID = 60, 0x3F


def records(store: bytes):
    """Valid variables as (name, offset of data, size of data)."""
    at = store.find(b"\xaa\x55")
    while 0 <= at and at + HEADER <= len(store):
        if store[at : at + 2] != b"\xaa\x55":
            return
        state = store[at + 2]
        name_size, data_size = struct.unpack_from("<II", store, at + 36)
        data_at = at + HEADER + name_size
        if state == VALID:
            yield store[at + HEADER : data_at].decode("utf-16le", "replace").rstrip("\0"), data_at, data_size
        at = (data_at + data_size + 3) & ~3


def main() -> None:
    path, network = sys.argv[1:3]
    with open(path, "r+b") as file:
        store = bytearray(file.read())
        names, order = {}, None
        for name, at, size in records(bytes(store)):
            if name == "BootOrder":
                order = (at, size)
            elif name.startswith("Boot0"):
                text = store[at + 6 : at + size].decode("utf-16le", "replace").split("\0")[0]
                names[int(name[4:], 16)] = text
        if order is None:
            sys.exit("no BootOrder: the machine was never started")
        at, size = order
        entries = list(struct.unpack_from(f"<{size // 2}H", store, at))

        def rank(number: int) -> int:
            text = names.get(number, "")
            if text.startswith(network):
                return 0
            return 1 if text == "UEFI Misc Device" else 2

        entries.sort(key=rank)
        if [rank(number) for number in entries[:2]] != [0, 1]:
            sys.exit(f"no such entries: {names}")
        struct.pack_into(f"<{len(entries)}H", store, at, *entries)
        file.seek(0)
        file.write(store)
    print(" ".join(f"{number:04x}:{names.get(number, '?')}" for number in entries))


main()
