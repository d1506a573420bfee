#!/usr/bin/env python3
"""Fails when the appliance gave a machine anything on its way to its own disk.

Usage: silence.py PCAP EPOCH FROM UNTIL MAC APPLIANCE. Times are seconds since EPOCH. Looked at are frames from the appliance to this
machine (by MAC, or broadcast DHCP replies that carry it) and connections that the machine opens to it.
"""

import socket
import struct
import sys


def frames(path: str):
    with open(path, "rb") as pcap:
        data = pcap.read()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    fraction = 1e-9 if data[:4] in (b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d") else 1e-6
    at = 24
    while at + 16 <= len(data):
        seconds, part, length, _ = struct.unpack_from(order + "IIII", data, at)
        yield seconds + part * fraction, data[at + 16 : at + 16 + length]
        at += 16 + length


def main() -> None:
    path, epoch, start, end, mac_text, appliance_text = sys.argv[1:7]
    begin, stop = float(epoch) + float(start), float(epoch) + float(end)
    mac = bytes.fromhex(mac_text.replace(":", ""))
    appliance = socket.inet_aton(appliance_text)
    seen_from_machine = 0
    bad = []
    for when, frame in frames(path):
        if not begin <= when <= stop or len(frame) < 42 or frame[12:14] != b"\x08\x00":
            continue
        source, target, protocol = frame[26:30], frame[30:34], frame[23]
        header = 14 + (frame[14] & 15) * 4
        if frame[6:12] == mac:
            seen_from_machine += 1
            # A reset answers the repeats of a connection that the installer's reboot cut off; only an opening one asks.
            asks = protocol != 6 or frame[header + 13] & 0x12 == 0x02
            if target == appliance and asks:
                bad.append(f"{when - float(epoch):.1f}: the machine spoke to the appliance, protocol {protocol}")
        elif source == appliance:
            # TCP from the appliance alone is the echo of a connection that the installer's reboot cut off.
            is_dhcp_reply = protocol == 17 and frame[header + 2 : header + 4] == b"\x00\x44"
            if protocol == 17 and (frame[0:6] == mac or (is_dhcp_reply and frame[header + 36 : header + 42] == mac)):
                bad.append(f"{when - float(epoch):.1f}: the appliance spoke to the machine, protocol {protocol}")
    for line in bad[:10]:
        print(line)
    if not seen_from_machine:
        print("the machine sent nothing at all: it did not try the network, so this proves nothing")
    sys.exit(1 if bad or not seen_from_machine else 0)


main()
