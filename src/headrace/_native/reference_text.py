"""Plain twins of the texts: ids, lease tokens, and the look of plain JSON.

As in `reference.py`: slow, obvious, and compared with the compiled ones by the tests.
"""

import base64
import json
import re
import struct

from headrace._native.reference import ID_BYTES, KEY_MAX


class Tokens:
    """Makes the tokens of one key of 16 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 16:
            raise ValueError("a key has 16 bytes")
        self._key = key

    def text(self, job_id: bytes, attempt: int, epoch: int) -> str:
        if len(job_id) != ID_BYTES:
            raise ValueError(f"an id has {ID_BYTES} bytes")
        head = struct.pack(">16sII", job_id, attempt, epoch)
        token = head + siphash_128(self._key, head)
        return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def siphash_128(key: bytes, data: bytes) -> bytes:
    """SipHash-2-4 with 128 bits of output, as its authors' reference code has it."""
    key_0, key_1 = struct.unpack("<QQ", key)
    v = [
        key_0 ^ 0x736F6D6570736575,
        key_1 ^ 0x646F72616E646F6D ^ 0xEE,
        key_0 ^ 0x6C7967656E657261,
        key_1 ^ 0x7465646279746573,
    ]

    def add(one: int, other: int) -> None:
        v[one] = (v[one] + v[other]) & KEY_MAX

    def turn(word: int, bits: int) -> None:
        v[word] = (v[word] << bits | v[word] >> (64 - bits)) & KEY_MAX

    def rounds(count: int) -> None:
        for _ in range(count):
            for one, other, bits in ((0, 1, 13), (2, 3, 16), (0, 3, 21), (2, 1, 17)):
                add(one, other)
                turn(other, bits)
                v[other] ^= v[one]
                if (one, other) in ((0, 1), (2, 1)):
                    turn(one, 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return struct.pack("<QQ", first, v[0] ^ v[1] ^ v[2] ^ v[3])


def id_text(job_id: bytes) -> str:
    if len(job_id) != ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes")
    text = job_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_JSON_TOKEN = re.compile(
    rb'[ \t\r\n]+|"[\x20-\x21\x23-\x5b\x5d-\x7e]*"'
    rb"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?![0-9eE.])|true|false|null|[\[\]{},:]"
)


def json_is_plain(data: bytes, depth_max: int) -> bool:
    at = depth = 0
    while at < len(data):
        token = _JSON_TOKEN.match(data, at)
        if token is None:
            return False
        at = token.end()
        text = token[0]
        depth += (text in (b"[", b"{")) - (text in (b"]", b"}"))
        if depth > depth_max:
            return False
        if text[0] in b"-0123456789" and sum(48 <= char <= 57 for char in text) > 15:
            return False
    try:
        json.loads(data)
    except ValueError:
        return False
    return True
