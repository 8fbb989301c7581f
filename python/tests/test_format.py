"""Holds the package to every vector of the format: what is a third implementation must agree with the others."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import unittest
import zlib
from pathlib import Path
from typing import Callable

from vaultpack import errors, keyring, sealed

DATA = Path(__file__).parents[2] / "testdata"

try:
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # noqa: F401

    ARGON2 = True
except ImportError:
    ARGON2 = False
try:
    from cryptography.hazmat.primitives.asymmetric import mlkem  # noqa: F401

    MLKEM = True
except ImportError:
    MLKEM = False

CLASSES = {
    "format error": errors.FormatError,
    "no key": errors.NoKeyError,
    "no keyring": errors.UsageError,
    "authentication failure": errors.AuthenticationError,
}


class Vector:
    def __init__(self, path: Path) -> None:
        head, self.data = path.read_bytes().split(b"\n\n", 1)
        self.name = path.name
        self.fields: dict[str, list[str]] = {}
        for line in head.decode().split("\n"):
            k, v = line.split(": ", 1)
            self.fields.setdefault(k, []).append(v)
        if "compressed" in self.fields:
            self.data = zlib.decompress(self.data)

    def one(self, name: str) -> str:
        return self.fields[name][0]

    def needs(self) -> str:
        if "passphrase" in self.fields and not ARGON2:
            return "passphrases, which take cryptography 44"
        if "identity" in self.fields and not MLKEM:
            return "identities, which take cryptography with ML-KEM"
        return ""

    def key(self, h: sealed.Header) -> sealed.DataKey:
        if "data key" in self.fields:
            id, secret = (bytes.fromhex(x) for x in self.one("data key").split(" "))
            if h.keyring and keyring.parse(h.keyring).key_id != h.key_id:
                raise errors.FormatError("a keyring of another key ID")
            return sealed.DataKey(id, secret)
        keys: list[keyring.Key] = [keyring.LocalKey(t) for t in self.fields.get("local key", [])]
        keys += [keyring.Passphrase(t) for t in self.fields.get("passphrase", [])]
        keys += [keyring.Identity(t) for t in self.fields.get("identity", [])]
        return keyring.of_file(h).unwrap(dict(c.split("=", 1) for c in self.fields.get("context", [])), keys)

    def streamed(self) -> tuple[bytes, type | None]:
        out = b""
        try:
            read = sealed.file_read(io.BytesIO(self.data))
            h = sealed.read_header(read)
            key = self.key(h)
            self.kind(h)
            for part in sealed.stream(key, h, read):
                out += part
        except errors.Error as err:
            return out, type(err)
        return out, None

    def kind(self, h: sealed.Header) -> None:
        if h.kind != self.one("kind").encode():
            raise sealed.unauthentic()

    def at_random(self, piece: int) -> tuple[bytes, type | None]:
        out = b""
        try:
            h = sealed.read_header(sealed.file_read(io.BytesIO(self.data)))
            key = self.key(h)
            self.kind(h)
            o = sealed.Object(key, h, len(self.data))
            o.check_end(*(self.data[a : a + n] for a, n in o.end_ranges()))
            for off in range(0, o.size, piece):
                n = min(piece, o.size - off)
                ranges = o.ranges(off, n)
                out += o.open(off, n, ranges, [self.data[a : a + k] for a, k in ranges])
        except errors.Error as err:
            return out, type(err)
        return out, None


class Testkit(unittest.TestCase):
    def test_all(self) -> None:
        left: dict[str, int] = {}
        held = 0
        for path in sorted((DATA / "testkit").iterdir()):
            if path.name == "README.md":
                continue
            v = Vector(path)
            if why := v.needs():
                left[why] = left.get(why, 0) + 1
                continue
            held += 1
            with self.subTest(path.name):
                self.hold(v)
        self.assertGreater(held, 230)
        for why, n in left.items():
            print(f"LEFT OUT: {n} vectors of {why}")

    def hold(self, v: Vector) -> None:
        want = v.one("expect")
        released, err = v.streamed()
        if want == "success":
            self.assertIsNone(err)
        else:
            self.assertIsNotNone(err)
            assert err
            self.assertTrue(issubclass(err, CLASSES[want]), f"{err} for {want}")
            if want == "authentication failure":
                self.assertIs(err, errors.AuthenticationError)
        payload = v.fields.get("chunk payload") or v.fields.get("payload")
        if payload:
            self.assertEqual(hashlib.sha256(released).hexdigest(), payload[0], f"{len(released)} bytes were released")
        for piece in (1 << 20, 100_000, 5_000_000):
            out, random_err = v.at_random(piece)
            self.assertEqual(random_err is None, want == "success", random_err)
            self.assertTrue(released.startswith(out))
            if want == "success":
                self.assertEqual(out, released)


class OtherVectors(unittest.TestCase):
    def test_cobblestone(self) -> None:
        v = json.loads((DATA / "vectors/c2sp_chunked_encryption_aes_256_gcm_test.json").read_text())
        n = 0
        for group in v["testGroups"]:
            for t in group["tests"]:
                key, context = bytes.fromhex(t["key"]), bytes.fromhex(t["ctx"])
                message = zlib.decompress(bytes.fromhex(t["ct"]))
                with self.subTest(t["tcId"]):
                    n += 1
                    if t["result"] == "valid":
                        got = sealed.open_message(key, context, message)
                        self.assertEqual(len(got), t["msgLength"])
                        self.assertEqual(hashlib.sha512(got).hexdigest(), t["msgSha512"])
                    elif len(key) == 32:
                        with self.assertRaises(errors.AuthenticationError):
                            sealed.open_message(key, context, message)
        self.assertGreater(n, 20)

    def test_keyring(self) -> None:
        v = json.loads((DATA / "vectors/keyring.json").read_text())
        ring = keyring.parse(v["keyring"].encode())
        keys: list[Callable[[], keyring.Key]] = [lambda: keyring.LocalKey(v["local_key"])]
        if ARGON2:
            keys.append(lambda: keyring.Passphrase(v["passphrase"]))
        if MLKEM:
            keys.append(lambda: keyring.Identity(v["identity"]))
        for make in keys:
            got = ring.unwrap(v["context"], [make()])
            self.assertEqual(got._secret.hex(), v["data_key"])

    def test_golden(self) -> None:
        v = json.loads((DATA / "golden/first/golden.json").read_text())
        n = 0
        for f in v["files"]:
            data = (DATA / "golden/first" / f["name"]).read_bytes()
            read = sealed.file_read(io.BytesIO(data))
            h = sealed.read_header(read)
            ring = keyring.parse(h.keyring or (DATA / "golden/first" / v["keyring"]).read_bytes())
            kinds: dict[str, Callable[[], keyring.Key]] = {"local": lambda: keyring.LocalKey(v["local_key"])}
            if ARGON2:
                kinds["passphrase"] = lambda: keyring.Passphrase(v["passphrase"])
            if MLKEM:
                kinds["identity"] = lambda: keyring.Identity(v["identity"])
            for kind in f.get("keys", ["local"]):
                if kind not in kinds:
                    continue
                with self.subTest(f["name"], kind=kind):
                    n += 1
                    self.assertEqual(h.kind.decode(), f["kind"])
                    key = ring.unwrap(v["context"], [kinds[kind]()])
                    f_read = sealed.file_read(io.BytesIO(data[h.size() :]))
                    plain = b"".join(sealed.stream(key, h, f_read))
                    self.assertEqual((len(plain), hashlib.sha256(plain).hexdigest()), (f["size"], f["sha256"]))
        self.assertGreater(n, 5)

    def test_secrets_are_not_shown_or_pickled(self) -> None:
        import pickle

        local = keyring.LocalKey.generate()
        data = sealed.DataKey(bytes(16), bytes(range(32)))
        for secret in (local, keyring.Passphrase("hunter2"), data):
            self.assertNotIn("hunter2", repr(secret))
            self.assertNotIn(base64.b64encode(local._secret).decode(), repr(secret))
            self.assertNotIn(bytes(range(32)).hex(), repr(secret))
            with self.assertRaises(TypeError):
                pickle.dumps(secret)


if __name__ == "__main__":
    unittest.main()
