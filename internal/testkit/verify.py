#!/usr/bin/env python3
"""A second verifier of version roots, written from docs/FORMAT.md section 11.

    verify.py < cases.json

Standard input is a JSON array of {"name", "dataset", "number", "root"}: root is the
plaintext of a version root, in base64. For each a line is printed: the name, a tab, and
"ok" or why the root is refused. What needs more than the root is not looked at: what a
reader remembers, the data key, the packs. It shares no code with vaultpack. Keys on P-256
need the package cryptography; without it they are refused.
"""
import base64
import hashlib
import json
import re
import sys

# Ed25519, from RFC 8032 section 6, for verifying only.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P:
        return None
    return P - x if (x & 1) != sign else x


GY = 4 * pow(5, P - 2, P) % P
GX = recover_x(GY, 0)
G = (GX, GY, 1, GX * GY % P)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def mul(s, p):
    q = (0, 1, 1, 0)
    while s:
        if s & 1:
            q = add(q, p)
        p = add(p, p)
        s >>= 1
    return q


def decompress(b):
    y = int.from_bytes(b, "little")
    x = recover_x(y & (2**255 - 1), y >> 255)
    y &= 2**255 - 1
    return None if x is None else (x, y, 1, x * y % P)


def ed25519(public, message, sig):
    if len(sig) != 64:
        return False
    a, r = decompress(public), decompress(sig[:32])
    s = int.from_bytes(sig[32:], "little")
    if a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(sig[:32] + public + message).digest(), "little") % L
    left, right = mul(s, G), add(r, mul(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


def p256(der, message, sig):
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        return False
    try:
        serialization.load_der_public_key(der).verify(sig, message, ec.ECDSA(hashes.SHA256()))
        return True
    except (InvalidSignature, ValueError):
        return False


class Refused(Exception):
    pass


def need(ok, why):
    if not ok:
        raise Refused(why)


ED25519 = bytes.fromhex("302a300506032b6570032100")
P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
PREFIX = "vaultpack-signer-1:"


def b64(text):
    b = base64.b64decode(text, validate=True)
    need(base64.b64encode(b).decode() == text, "base64 in another encoding")
    return b


class Key:
    def __init__(self, text):
        need(isinstance(text, str) and text.startswith(PREFIX), "no public key")
        self.text, self.der = text, b64(text[len(PREFIX):])
        need(self.der.startswith(ED25519) and len(self.der) == 44 or self.der.startswith(P256) and len(self.der) == 91,
             "a public key of another kind")
        self.id = hashlib.sha256(self.der).hexdigest()

    def verify(self, message, sig):
        if self.der.startswith(ED25519):
            return ed25519(self.der[12:], message, sig)
        return p256(self.der, message, sig)


def dumps(v):
    text = json.dumps(v, separators=(",", ":"), ensure_ascii=False)
    for c, e in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        text = text.replace(c, e)
    return text


def once(pairs):
    need(len({k for k, _ in pairs}) == len(pairs), "a field twice")
    return dict(pairs)


def strict(payload, fields, optional=()):
    """The payload's fields, which are exactly these, in this order and encoding."""
    v = json.loads(payload, object_pairs_hook=once)
    need(isinstance(v, dict) and [k for k in v] == [f for f in fields if f in v or f not in optional], "other fields")
    need(dumps(v).encode() == payload, "another encoding")
    return v


def envelope(raw, kind):
    """The payload, the key ID, and what verifies with a key."""
    text = raw if isinstance(raw, bytes) else dumps(raw).encode()
    need(len(text) <= 1 << 20, "an envelope that is too large")
    e = strict(text, ["payloadType", "payload", "signatures"])
    need(e["payloadType"] == kind and len(e["signatures"]) == 1, "another envelope")
    s = e["signatures"][0]
    need(list(s) == ["keyid", "sig"], "another signature")
    payload, sig = b64(e["payload"]), b64(s["sig"])
    head = "DSSEv1 %d %s %d " % (len(kind), kind, len(payload))
    return payload, s["keyid"], lambda key: key.verify(head.encode() + payload, sig)


def signed(raw, kind, keys, who):
    payload, keyid, verifies = envelope(raw, kind)
    for key in keys:
        if key.id == keyid:
            need(verifies(key), "a signature that does not verify")
            return payload, key
    raise Refused("signed by somebody who is no " + who)


HEX32, HEX64 = re.compile("[0-9a-f]{32}$"), re.compile("[0-9a-f]{64}$")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")


def link(payload):
    l = strict(payload, ["format", "dataset", "id", "sequence", "previous", "created", "after", "epoch", "owners", "writers"])
    l["owners"], l["writers"] = [Key(k) for k in l["owners"]], [Key(k) for k in l["writers"]]
    ids = [k.id for k in l["owners"] + l["writers"]]
    need(l["format"] == "vaultpack-signers/1" and len(l["id"]) == 32 and TIME.match(l["created"]), "a malformed link")
    need(l["owners"] and len(ids) <= 256 and len(set(ids)) == len(ids), "a link without owners, or a key twice")
    for keys in (l["owners"], l["writers"]):
        need([k.id for k in keys] == sorted(k.id for k in keys), "keys out of order")
    need(l["after"] >= 0 and l["epoch"] >= 0, "numbers below 0")
    l["digest"] = hashlib.sha256(payload).hexdigest()
    return l


LINK = "application/vnd.vaultpack.signers+json"


def chain(dataset, raws):
    need(1 <= len(raws) <= 4096, "no chain")
    links = []
    for raw in raws:
        owners = links[-1]["owners"] if links else link(envelope(raw, LINK)[0])["owners"]
        l = link(signed(raw, LINK, owners, "owner")[0])
        need(l["dataset"] == dataset and l["sequence"] == len(links) + 1, "a link of another chain")
        need(l["previous"] == (links[-1]["digest"] if links else ""), "a link that does not follow")
        if links:
            last = links[-1]
            need(l["id"] == last["id"] and l["after"] >= last["after"] and l["epoch"] >= last["epoch"], "a link that goes back")
        else:
            need(l["after"] == 0 and l["epoch"] == 0 and not l["writers"], "a first link that is none")
        links.append(l)
    return links


def members(l):
    return l["owners"] + l["writers"]


def of_chain(v, links):
    """The link that a grant or delegation names."""
    need(1 <= v["sequence"] <= len(links), "a link that is not there")
    l = links[v["sequence"] - 1]
    need(v["dataset"] == l["dataset"] and v["id"] == l["id"], "of another chain")
    return l


def ever(links):
    return {k.id: k for l in links for k in members(l)}.values()


def grant(raw, links):
    payload, key = signed(raw, "application/vnd.vaultpack.data-key+json", ever(links), "signer")
    g = strict(payload, ["format", "dataset", "id", "key_id", "commitment", "epoch", "sequence", "read_only"], ["read_only"])
    l = of_chain(g, links)
    need(g["format"] == "vaultpack-data-key/1" and HEX32.match(g["key_id"]) and len(b64(g["commitment"])) == 32, "a malformed grant")
    need(g["epoch"] == l["epoch"] and key.id in [k.id for k in members(l)], "a grant that was not allowed")
    need(g.get("read_only", True) is True, "another encoding")
    return g["key_id"]


def delegated(raw, links, root):
    payload, key = signed(raw, "application/vnd.vaultpack.delegation+json", members(links[-1]), "signer")
    d = strict(payload, ["format", "dataset", "id", "purpose", "name", "key", "not_after", "up_to", "sequence"])
    l = of_chain(d, links)
    need(d["format"] == "vaultpack-delegation/1" and d["purpose"] in ("job", "plan") and TIME.match(d["not_after"]), "a malformed delegation")
    need(key.id in [k.id for k in members(l)], "a delegation by somebody who was no signer")
    need(root["number"] <= d["up_to"], "beyond what was delegated")
    # Times in UTC compare as text once their fractions have one length.
    whole = lambda t: (t[:19], (t[20:-1] or "0").ljust(9, "0"))
    need(whole(root["created"]) <= whole(d["not_after"]), "a delegation that has expired")
    return [Key(d["key"])]


def verify(dataset, number, plaintext):
    lines = plaintext.split(b"\n", 1)
    need(len(lines) == 2 and lines[1].endswith(b"\n"), "no two lines")
    contents, statement = lines[0], lines[1][:-1]
    root = json.loads(contents)
    need(root["format"] == "vaultpack-version/1" and root["dataset"] == dataset and root["number"] == number, "another root")
    links = chain(dataset, root["signers"])
    keys = members(links[-1])
    if "delegation" in root:
        keys = delegated(root["delegation"], links, root)
    payload, _ = signed(statement, "application/vnd.in-toto+json", keys, "signer")
    predicate = {"dataset": dataset, "dataset_id": links[-1]["id"], "number": number, "created": root["created"], "signers": links[-1]["sequence"]}
    for field in ("message", "tree"):
        if root.get(field):
            predicate[field] = root[field]
    want = {"_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "%s@%d" % (dataset, number), "digest": {"sha256": hashlib.sha256(contents).hexdigest()}}],
            "predicateType": "https://github.com/vaultpack/vaultpack/version/v1", "predicate": predicate}
    need(payload == dumps(want).encode(), "a statement about something else")
    need(len(root["keys"]) <= 4096, "too many grants")
    granted = [grant(raw, links) for raw in root["keys"]]
    need(len(set(granted)) == len(granted), "a data key twice")
    for part in root["parts"]:
        need(part["key_id"] in granted, "a part under a data key that is not granted")
    need(len(root.get("message", "").encode()) <= 4096, "a message that is too long")
    if "plan" in root:
        plan = root["plan"]
        need(re.match(r"[a-z2-7]{16}\Z", plan["id"]), "a malformed plan")
        need(plan.get("partial", True) is True or plan["partial"] is False, "a malformed plan")
    names = [t["name"] for t in root.get("tags", [])]
    need(names == sorted(set(names)) and len(names) <= 1024, "tags out of order")
    for t in root.get("tags", []):
        need(re.match(r"[A-Za-z][A-Za-z0-9._-]{0,99}$", t["name"]) and 1 <= t["number"] < number and HEX64.match(t["digest"]), "a malformed tag")


def main():
    for case in json.load(sys.stdin):
        try:
            verify(case["dataset"], case["number"], base64.b64decode(case["root"]))
            verdict = "ok"
        except Refused as e:
            verdict = str(e)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, UnicodeDecodeError) as e:
            verdict = "malformed: %r" % e
        print("%s\t%s" % (case["name"], verdict))


if __name__ == "__main__":
    main()
