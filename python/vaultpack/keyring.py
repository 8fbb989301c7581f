"""Keyrings of format 1: docs/FORMAT.md, sections 6 and 7.

Slots of the kinds local, passphrase and hpke are opened here. The kind passphrase needs
`cryptography` 44, and hpke a version with ML-KEM. Slots of key services are opened by the
vaultpack command, which hands a dataset over with slots for a local key: see handover.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from typing import Mapping, NamedTuple, Protocol, Sequence

from .errors import AuthenticationError, FormatError, NoKeyError, UsageError
from .sealed import DataKey, Header, expand, open_message, unauthentic

FORMAT = "vaultpack-keyring/1"
MAX = 65536
_TEXT = re.compile(r"[ !#-%'-;=?-\[\]-~]*\Z")
_PHC = re.compile(r"\$argon2id\$v=19\$m=([1-9][0-9]*),t=([1-9][0-9]*),p=([1-9][0-9]*)\$([A-Za-z0-9+/]{22})\Z")

_XWING_LABEL = b"\\.//^\\"

Context = Mapping[str, str]


class Slot(NamedTuple):
    kind: str
    key: str
    wrapped: bytes


class Keyring(NamedTuple):
    key_id: bytes
    commitment: bytes
    slots: tuple[Slot, ...]

    def encode(self) -> bytes:
        fields = {
            "format": FORMAT,
            "key_id": self.key_id.hex(),
            "commitment": base64.b64encode(self.commitment).decode(),
            "slots": [{"kind": s.kind, "key": s.key, "wrapped": base64.b64encode(s.wrapped).decode()} for s in self.slots],
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    def unwrap(self, context: Context, keys: Sequence[Key]) -> DataKey:
        """Opens the data key with the first of the keys that does."""
        if "vaultpack:key-id" in context:
            raise UsageError("the encryption context of a keyring is given without vaultpack:key-id")
        canonical = canonical_context({**context, "vaultpack:key-id": self.key_id.hex()})
        failed: AuthenticationError | None = None
        for key in keys:
            for slot in self.slots:
                if not key.fits(slot):
                    continue
                try:
                    secret = key.unwrap(slot, canonical)
                    if len(secret) != 32:
                        raise unauthentic()
                    out = DataKey(self.key_id, secret)
                    if not hmac.compare_digest(out.commitment(), self.commitment):
                        raise unauthentic()
                    return out
                except AuthenticationError as err:
                    failed = failed or err
        if failed:
            raise failed
        raise NoKeyError("no key that is at hand opens the keyring")


def canonical_context(context: Context) -> bytes:
    out = b""
    for name, value in sorted((k.encode(), v.encode()) for k, v in context.items()):
        out += len(name).to_bytes(4, "big") + name + len(value).to_bytes(4, "big") + value
    return out


def parse(text: bytes) -> Keyring:
    """Reads a keyring. Any encoding but the one of the format is a FormatError."""
    try:
        if len(text) > MAX:
            raise ValueError
        fields = json.loads(text.decode("ascii"))
        slots = tuple(Slot(s["kind"], s["key"], _base64(s["wrapped"])) for s in fields["slots"])
        ring = Keyring(bytes.fromhex(fields["key_id"]), _base64(fields["commitment"]), slots)
        if ring.encode() != text or len(ring.key_id) != 16 or len(ring.commitment) != 32 or not 1 <= len(slots) <= 64:
            raise ValueError
        work = 0
        for s in slots:
            if not (1 <= len(s.kind) <= 32 and 1 <= len(s.key) <= 2048 and 1 <= len(s.wrapped) <= 16384):
                raise ValueError
            if not (_TEXT.match(s.kind) and _TEXT.match(s.key)):
                raise ValueError
            if s.kind == "passphrase":
                memory, passes, _, _ = _parameters(s.key)
                work += memory * passes
        if work > 8388608:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FormatError("this is not a keyring of format 1") from None
    return ring


def of_file(header: Header) -> Keyring:
    """The keyring in the header of a sealed file."""
    if not header.keyring or header.kind != b"file":
        raise UsageError("this sealed file has no keyring of its own")
    ring = parse(header.keyring)
    if ring.key_id != header.key_id:
        raise FormatError("this is not a sealed file of format 1: its keyring is another's")
    return ring


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _parameters(key: str) -> tuple[int, int, int, bytes]:
    """Memory in KiB, passes, lanes and salt of a passphrase slot."""
    m = _PHC.match(key)
    if not m or any(len(m[i]) > 10 for i in (1, 2, 3)):
        raise ValueError
    memory, passes, lanes = int(m[1]), int(m[2]), int(m[3])
    salt = base64.b64decode(m[4] + "==")
    if base64.b64encode(salt).decode().rstrip("=") != m[4]:
        raise ValueError
    if not (8192 <= memory <= 1048576 and lanes <= 16 and memory * passes <= 4194304):
        raise ValueError
    return memory, passes, lanes, salt


class Key(Protocol):
    """What opens slots."""

    def fits(self, slot: Slot) -> bool: ...

    def unwrap(self, slot: Slot, context: bytes) -> bytes: ...


def _key_text(text: bytes | str, prefix: str, size: int) -> bytes:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    lines = [line for line in (line.strip() for line in text.split("\n")) if line and not line.startswith("#")]
    if len(lines) == 1 and lines[0].startswith(prefix):
        try:
            key = base64.b64decode(lines[0][len(prefix) :], validate=True)
            if len(key) == size and base64.b64encode(key).decode() == lines[0][len(prefix) :]:
                return key
        except (binascii.Error, ValueError):
            pass
    raise UsageError(f"this is no key: want one line {prefix!r} and {size} bytes in base64")


class LocalKey:
    """A local key: 32 random bytes."""

    PREFIX = "vaultpack-local-key-1:"

    def __init__(self, text: bytes | str) -> None:
        self._secret = _key_text(text, self.PREFIX, 32)
        self.fingerprint = expand(self._secret, b"vaultpack/v1 local key ID", 16).hex()

    @classmethod
    def generate(cls) -> LocalKey:
        return cls(cls.PREFIX + base64.b64encode(secrets.token_bytes(32)).decode())

    def __repr__(self) -> str:
        return f"<local key {self.fingerprint}>"

    def __reduce__(self) -> object:
        raise TypeError("a key cannot be pickled")

    def text(self) -> bytes:
        """The key as its file has it: secret."""
        return self.PREFIX.encode() + base64.b64encode(self._secret) + b"\n"

    def fits(self, slot: Slot) -> bool:
        return slot.kind == "local" and slot.key == self.fingerprint

    def unwrap(self, slot: Slot, context: bytes) -> bytes:
        return open_message(expand(self._secret, b"vaultpack/v1 local wrap", 32), context, slot.wrapped)


class Passphrase:
    """A passphrase: the bytes that were typed."""

    def __init__(self, passphrase: bytes | str) -> None:
        self._secret = passphrase.encode() if isinstance(passphrase, str) else bytes(passphrase)
        if not self._secret:
            raise UsageError("an empty passphrase")

    def __repr__(self) -> str:
        return "<passphrase>"

    def __reduce__(self) -> object:
        raise TypeError("a key cannot be pickled")

    def fits(self, slot: Slot) -> bool:
        return slot.kind == "passphrase"

    def unwrap(self, slot: Slot, context: bytes) -> bytes:
        try:
            from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
        except ImportError:
            raise UsageError("passphrases take the package cryptography in version 44 or later") from None
        memory, passes, lanes, salt = _parameters(slot.key)
        root = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(self._secret)
        return open_message(expand(root, b"vaultpack/v1 passphrase wrap", 32), context, slot.wrapped)


class Identity:
    """The private half of a hybrid key pair: ML-KEM-768 with X25519."""

    PREFIX = "vaultpack-identity-1:"

    def __init__(self, text: bytes | str) -> None:
        seed = _key_text(text, self.PREFIX, 32)
        try:
            from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
            from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
        except ImportError:
            raise UsageError("identities take a version of the package cryptography that has ML-KEM") from None
        both = hashlib.shake_256(seed).digest(96)
        self._pq = MLKEM768PrivateKey.from_seed_bytes(both[:64])
        self._ec = X25519PrivateKey.from_private_bytes(both[64:])
        self._ec_public = self._ec.public_key().public_bytes_raw()
        public = self._pq.public_key().public_bytes_raw() + self._ec_public
        self.fingerprint = hashlib.sha512(b"vaultpack/v1 hpke key ID\0" + public).digest()[:16].hex()

    def __repr__(self) -> str:
        return f"<identity {self.fingerprint}>"

    def __reduce__(self) -> object:
        raise TypeError("a key cannot be pickled")

    def fits(self, slot: Slot) -> bool:
        return slot.kind == "hpke" and slot.key == self.fingerprint

    def unwrap(self, slot: Slot, context: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(slot.wrapped) != 1168:
            raise unauthentic()
        pq, ec, sealed = slot.wrapped[:1088], slot.wrapped[1088:1120], slot.wrapped[1120:]
        try:
            shared = hashlib.sha3_256(
                self._pq.decapsulate(pq) + self._ec.exchange(X25519PublicKey.from_public_bytes(ec)) + ec + self._ec_public + _XWING_LABEL
            ).digest()
            suite = b"HPKE" + bytes.fromhex("647a00030002")
            info = b"vaultpack/v1 hpke wrap\0" + context

            def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
                return hmac.digest(salt or bytes(64), b"HPKE-v1" + suite + label + ikm, "sha512")

            def labeled(key: bytes, label: bytes, ctx: bytes, n: int) -> bytes:
                return expand(key, n.to_bytes(2, "big") + b"HPKE-v1" + suite + label + ctx, n)

            schedule = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
            secret = extract(shared, b"secret", b"")
            key, nonce = labeled(secret, b"key", schedule, 32), labeled(secret, b"base_nonce", schedule, 12)
            return AESGCM(key).decrypt(nonce, sealed, None)
        except (InvalidTag, ValueError):
            raise unauthentic() from None
