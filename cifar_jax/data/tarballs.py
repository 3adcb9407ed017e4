"""Opens tar archives, whatever their compression, within limits."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LONGEST = 2**16  # bytes of a file's name
_COMPRESSED: Mapping[bytes, Callable[[Path], Any]] = {
    b'\x1f\x8b': gzip.open,
    b'BZh': bz2.open,
    b'\xfd7zXZ': lzma.open,
}


class Member(tarfile.TarInfo):
    """A member of an archive; a name of absurd length is refused before it takes memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> 'Member':
        member = super().frombuf(buf, encoding, errors)
        if not (member.isfile() or member.isdir() or member.islnk()) and member.size > LONGEST:
            raise tarfile.ReadError(f'a name of {member.size:,} bytes')
        return member


def opened(path: Path) -> io.BufferedIOBase:
    """Opens a tar archive, and decompresses it by gzip, bzip2 or xz if its first bytes say so."""
    with path.open('rb') as file:
        start = file.read(5)
    for signature, opened in _COMPRESSED.items():
        if start.startswith(signature):
            return opened(path)
    return path.open('rb')
