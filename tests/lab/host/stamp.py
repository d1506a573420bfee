#!/usr/bin/env python3
"""Copies standard input to a log, each line with seconds since the start of the run in front.

Usage: stamp.py LOG EPOCH. Serial consoles end lines in CR LF, redraw them, and colour them; only text is kept.
"""

import re
import sys
import time

ESCAPES = re.compile(rb"\x1b(\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>78cM])|[\x00-\x08\x0b-\x0c\x0e-\x1f]")


def main() -> None:
    path, epoch = sys.argv[1], float(sys.argv[2])
    with open(path, "ab", buffering=0) as log:
        rest = b""
        while chunk := sys.stdin.buffer.raw.read(65536):
            *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                text = ESCAPES.sub(b"", line).rstrip()
                if text:
                    log.write(b"%8.1f " % (time.time() - epoch) + text + b"\n")


main()
