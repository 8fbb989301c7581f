"""Sealed files of format 1: docs/FORMAT.md, sections 1 to 5.

A third implementation, held to testdata/testkit, testdata/vectors and testdata/golden.
Readers give no byte of a chunk before its tag has verified.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import BinaryIO, Callable, Iterator, NamedTuple, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import AuthenticationError, FormatError

MAGIC = b"vaultpk1"
HEADER = 64
MAX_KEYRING = 65536
CHUNK = 16384
TAG = 16
SEALED_CHUNK = CHUNK + TAG
SEGMENT = 1 << 20
PREFIX = 56  # salt and commitment
SEALED_SEGMENT = PREFIX + SEGMENT + TAG * (SEGMENT // CHUNK + 1)
KINDS = (b"file", b"pack", b"indx", b"vers")

_COBBLESTONE = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"
_INTO = hasattr(AESGCM, "decrypt_into")


def unauthentic() -> AuthenticationError:
    return AuthenticationError("authentication failed: the data was changed, or the key is wrong")


def expand(key: bytes, info: bytes, n: int) -> bytes:
    """The first n bytes of HKDF-Expand with SHA-512 (RFC 5869)."""
    out = t = b""
    for i in range(1, (n + 63) // 64 + 1):
        t = hmac.digest(key, t + info + bytes([i]), "sha512")
        out += t
    return out[:n]


class DataKey:
    """A data key. It is never printed, and pickled only for a worker process: see Dataset."""

    __slots__ = ("id", "_secret")

    def __init__(self, id: bytes, secret: bytes) -> None:
        if len(id) != 16 or len(secret) != 32:
            raise unauthentic()
        self.id, self._secret = id, secret

    def __repr__(self) -> str:
        return f"<data key {self.id.hex()}>"

    def __reduce__(self) -> object:
        raise TypeError("a data key cannot be pickled by itself")

    def expand(self, label: bytes, n: int) -> bytes:
        return expand(self._secret, label, n)

    def commitment(self) -> bytes:
        return self.expand(b"vaultpack/v1 data key commitment\0" + self.id, 32)


class Header(NamedTuple):
    kind: bytes
    key_id: bytes
    object_id: bytes
    keyring: bytes

    def fixed(self) -> bytes:
        """Bytes 0 to 60."""
        return MAGIC + self.kind + self.key_id + self.object_id

    def size(self) -> int:
        return HEADER + len(self.keyring)


def read_header(read: Callable[[int], bytes]) -> Header:
    """Reads a header; read returns so many bytes, or fewer at the end."""
    b = read(HEADER)
    if len(b) < HEADER or b[:8] != MAGIC or b[8:12] not in KINDS:
        raise FormatError("this is not a sealed file of format 1")
    length = int.from_bytes(b[60:64], "big")
    if length > MAX_KEYRING:
        raise FormatError("this is not a sealed file of format 1: its keyring is too long")
    keyring = read(length) if length else b""
    if len(keyring) < length:
        raise FormatError("this is not a sealed file of format 1: it ends in its header")
    return Header(b[8:12], b[12:28], b[28:60], keyring)


def plaintext_size(sealed: int, header: int = HEADER) -> int:
    """The plaintext of a sealed file of a size, or an AuthenticationError: it is truncated."""
    t = sealed - header
    full, m = divmod(t, SEALED_SEGMENT) if t >= 0 else (0, 0)
    p = message_plaintext(m)
    if p < 0 or p >= SEGMENT:
        raise unauthentic()
    return full * SEGMENT + p


def message_plaintext(m: int) -> int:
    """The plaintext of a message of m bytes, or -1 where there is no such message."""
    b = m - PREFIX
    if b < TAG or b % SEALED_CHUNK < TAG:
        return -1
    return CHUNK * (b // SEALED_CHUNK) + b % SEALED_CHUNK - TAG


class Message:
    """One Cobblestone-256 message whose commitment has been compared."""

    __slots__ = ("_aead", "_nonce")

    def __init__(self, key: bytes, context: bytes, prefix: bytes | memoryview) -> None:
        if len(prefix) < PREFIX:
            raise unauthentic()
        derived = expand(key, _COBBLESTONE + bytes(prefix[:24]) + context, 76)
        if not hmac.compare_digest(derived[44:], prefix[24:PREFIX]):
            raise unauthentic()
        self._aead = AESGCM(derived[:32])
        self._nonce = int.from_bytes(derived[32:44], "big")

    def open(self, n: int, sealed: bytes | memoryview) -> bytes:
        """Opens chunk n."""
        try:
            return self._aead.decrypt((self._nonce ^ n).to_bytes(12, "big"), sealed, None)
        except (InvalidTag, ValueError, OverflowError):
            raise unauthentic() from None

    def open_many(self, first: int, sealed: memoryview, out: memoryview) -> int:
        """Opens whole chunks, and the last as far as it goes, into out. Returns their bytes."""
        at = 0
        nonce, aead = self._nonce, self._aead
        try:
            for n, begin in enumerate(range(0, len(sealed), SEALED_CHUNK), first):
                chunk = sealed[begin : begin + SEALED_CHUNK]
                size = len(chunk) - TAG
                if _INTO:
                    aead.decrypt_into((nonce ^ n).to_bytes(12, "big"), chunk, None, out[at : at + size])
                else:
                    out[at : at + size] = aead.decrypt((nonce ^ n).to_bytes(12, "big"), bytes(chunk), None)
                at += size
        except (InvalidTag, ValueError, OverflowError):
            raise unauthentic() from None
        return at


def open_message(key: bytes, context: bytes, message: bytes) -> bytes:
    """Opens a whole message."""
    if message_plaintext(len(message)) < 0:
        raise unauthentic()
    m = Message(key, context, message)
    return b"".join(m.open(n, message[at : at + SEALED_CHUNK]) for n, at in enumerate(range(PREFIX, len(message), SEALED_CHUNK)))


def object_key(key: DataKey, header: Header) -> bytes:
    if header.key_id != key.id:
        raise unauthentic()
    return key.expand(b"vaultpack/v1 object key\0" + header.fixed(), 32)


def _context(segment: int) -> bytes:
    return b"vaultpack/v1 segment\0" + segment.to_bytes(8, "big")


def stream(key: DataKey, header: Header, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Opens what follows a header, in order, chunk by chunk. It ends only when the last segment
    has opened."""
    secret = object_key(key, header)
    segment = 0
    while True:
        sealed = memoryview(read(SEALED_SEGMENT))
        message = Message(secret, _context(segment), sealed)
        full = len(sealed) == SEALED_SEGMENT
        for n, at in enumerate(range(PREFIX, len(sealed), SEALED_CHUNK)):
            chunk = bytes(sealed[at : at + SEALED_CHUNK])
            plain = message.open(n, chunk)
            if at + SEALED_CHUNK <= len(sealed) and len(chunk) < SEALED_CHUNK:
                raise unauthentic()
            if full and n == SEGMENT // CHUNK and plain:
                raise unauthentic()
            if plain:
                yield plain
        if full:
            segment += 1
            continue
        p = message_plaintext(len(sealed))
        if p < 0 or p >= SEGMENT:
            raise unauthentic()
        return


Range = tuple[int, int]
"""Offset and length in a sealed file."""


class Object:
    """A sealed file that can be read at any offset. It holds no file open: it says which ranges it
    needs, and opens what it is given."""

    __slots__ = ("size", "_header", "_end", "_secret", "_messages")

    KEPT = 64  # messages whose keys are kept

    def __init__(self, key: DataKey, header: Header, sealed_size: int) -> None:
        """The size is believed: it is from a pin, or check_end has been called with what
        end_ranges names."""
        self.size = plaintext_size(sealed_size, header.size())
        self._header, self._end = header.size(), sealed_size
        self._secret = object_key(key, header)
        self._messages: dict[int, Message] = {}

    def __repr__(self) -> str:
        return f"<sealed object of {self.size} bytes>"

    def end_ranges(self) -> list[Range]:
        """Ranges that show, when they open, that the file has its size: its end is its last chunk."""
        segment, r = divmod(self.size, SEGMENT)
        begin = self._header + segment * SEALED_SEGMENT
        chunk = begin + PREFIX + r // CHUNK * SEALED_CHUNK
        return [(begin, PREFIX), (chunk, self._end - chunk)]

    def check_end(self, prefix: bytes, chunk: bytes) -> None:
        segment, r = divmod(self.size, SEGMENT)
        Message(self._secret, _context(segment), prefix).open(r // CHUNK, chunk)

    def message_at(self, off: int) -> Message | None:
        """The message in which an offset lies, if it has been opened lately. For ranges and open."""
        return self._messages.get(off // SEGMENT)

    def ranges(self, off: int, n: int, message: Message | None = None) -> list[Range]:
        """The ranges that opening n bytes at off needs; all of them lie in the file. message is that
        of the offset, if there is one."""
        if off < 0 or n < 0 or off + n > self.size:
            raise ValueError("beyond the end of the object")
        if n == 0:
            return []
        first, r = divmod(off, SEGMENT)
        begin = self._header + first * SEALED_SEGMENT
        last, q = divmod(off + n - 1, SEGMENT)
        tail = q // CHUNK + 1  # chunks of the last segment; the empty one at the end of a full segment goes with the one before
        end = self._header + last * SEALED_SEGMENT + (SEALED_SEGMENT if tail == SEGMENT // CHUNK else PREFIX + tail * SEALED_CHUNK)
        end = min(end, self._end)
        chunk = r // CHUNK
        if chunk < 4:
            return [(begin, end - begin)]
        start = begin + PREFIX + chunk * SEALED_CHUNK
        if message:
            return [(start, end - start)]
        return [(begin, PREFIX), (start, end - start)]

    def open(
        self,
        off: int,
        n: int,
        ranges: Sequence[Range],
        data: Sequence[bytes | memoryview],
        buffer: Callable[[int], memoryview] = lambda n: memoryview(bytearray(n)),
        message: Message | None = None,
    ) -> memoryview:
        """Opens n bytes at off, given the contents of ranges(off, n, message). They lie in memory that
        buffer gives."""
        if n == 0:
            return memoryview(b"")
        for (_, want), got in zip(ranges, data):
            if len(got) != want:
                raise unauthentic()
        first, last = off // SEGMENT, (off + n - 1) // SEGMENT
        if len(ranges) == 2:
            message = self._message(first, data[0])
        start = ranges[-1][0] - self._header  # in the segments
        sealed = memoryview(data[-1])
        chunk = off % SEGMENT // CHUNK
        if start % SEALED_SEGMENT == 0:
            chunk = 0
        plain_start = first * SEGMENT + chunk * CHUNK
        out, at = buffer(len(sealed)), 0
        for segment in range(first, last + 1):
            lo = segment * SEALED_SEGMENT - start
            hi = min(lo + SEALED_SEGMENT, len(sealed))
            if lo >= 0:
                message = self._message(segment, sealed[lo : lo + PREFIX])
                lo, chunk = lo + PREFIX, 0
            else:
                lo = 0
            assert message  # of ranges that do not begin with a prefix
            at += message.open_many(chunk, sealed[lo:hi], out[at:])
        return out[off - plain_start : off - plain_start + n]

    def _message(self, segment: int, prefix: bytes | memoryview) -> Message:
        m = Message(self._secret, _context(segment), prefix)
        if len(self._messages) >= self.KEPT:
            self._messages.clear()
        self._messages[segment] = m
        return m


def file_read(f: BinaryIO) -> Callable[[int], bytes]:
    """Reads so many bytes of f, fewer only at its end."""

    def read(n: int) -> bytes:
        out = f.read(n)
        while len(out) < n:
            more = f.read(n - len(out))
            if not more:
                break
            out += more
        return out

    return read


_FIRST = bytes(12)


class ContentSum:
    """Content sums under a data key: docs/FORMAT.md, section 1."""

    __slots__ = ("gmac", "hmac_key")

    def __init__(self, key: DataKey) -> None:
        keys = key.expand(b"vaultpack/v1 content sum", 64)
        self.gmac, self.hmac_key = AESGCM(keys[:32]), keys[32:]

    def begin(self) -> RunningSum:
        return RunningSum(self)

    def of(self, contents: bytes | memoryview) -> bytes:
        """The sum of what is at hand as a whole, in one call of HMAC."""
        n, encrypt = len(contents), self.gmac.encrypt
        if 0 < n <= CHUNK:
            tags = encrypt(_FIRST, b"", bytes(contents))
        else:
            view = memoryview(contents)
            tags = b"".join([encrypt(i.to_bytes(12, "big"), b"", bytes(view[at : at + CHUNK])) for i, at in enumerate(range(0, n, CHUNK))])
        return hmac.digest(self.hmac_key, tags + n.to_bytes(8, "big"), "sha256")[:16]


class RunningSum:
    """A content sum in the making. Each update but the last takes whole blocks."""

    __slots__ = ("_gmac", "_hmac", "_length")

    def __init__(self, of: ContentSum) -> None:
        self._gmac, self._hmac, self._length = of.gmac, hmac.new(of.hmac_key, digestmod=hashlib.sha256), 0

    def update(self, contents: bytes | memoryview) -> None:
        if self._length % CHUNK:
            raise ValueError("contents after a block that is not whole")
        first = self._length // CHUNK
        for i, at in enumerate(range(0, len(contents), CHUNK), first):
            self._hmac.update(self._gmac.encrypt(i.to_bytes(12, "big"), b"", bytes(contents[at : at + CHUNK])))
        self._length += len(contents)

    def sum(self) -> bytes:
        self._hmac.update(self._length.to_bytes(8, "big"))
        return self._hmac.digest()[:16]
