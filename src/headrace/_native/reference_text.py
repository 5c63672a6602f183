"""Plain twins of the texts: ids, lease tokens, the look of plain JSON, and jobs as text.

As in `reference.py`: slow, obvious, and compared with the compiled ones by the tests.
"""

import base64
import json
import re
import struct
from datetime import UTC, datetime, timedelta

from headrace._native.reference import ID_BYTES
from headrace._native.reference_heap import KEY_MAX

TOKEN_CHARS = 54
INSTANT_MS_MAX = 253_402_300_799_999
"""The last of the year 9999."""


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

    def parse(self, text: str) -> tuple[bytes, int, int] | None:
        if len(text) != TOKEN_CHARS or not text.isascii():
            return None
        try:
            head = struct.unpack(">16sII", base64.urlsafe_b64decode(text[:32]))
        except (ValueError, struct.error):
            return None
        return head if self.text(*head) == text else None


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


def id_texts(job_ids: bytes, before: bytes, after: bytes) -> bytes:
    ids = _ids(job_ids)
    return b",".join(before + id_text(job_id).encode() + after for job_id in ids)


def instant_text(at_ms: int) -> str | None:
    if not 0 <= at_ms <= INSTANT_MS_MAX:
        raise ValueError("an instant is within the years 1970 to 9999")
    if at_ms == 0:
        return None
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ids_after(job_id: bytes, steps: bytes) -> bytes:
    (only,) = _ids(job_id)
    number = int.from_bytes(only, "big")
    ids = [number]
    if len(steps) % 4:
        raise ValueError("a step has 4 bytes")
    for (step,) in struct.iter_unpack("=I", steps):
        ids.append(ids[-1] + step + 1)
    if ids[-1] >> 64 != number >> 64:
        raise OverflowError("an id ran over")
    return b"".join(made.to_bytes(ID_BYTES, "big") for made in ids)


def _ids(job_ids: bytes) -> list[bytes]:
    if len(job_ids) % ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes")
    return [job_ids[at : at + ID_BYTES] for at in range(0, len(job_ids), ID_BYTES)]


_JSON_TOKEN = re.compile(
    rb'[ \t\r\n]+|"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\/bfnrt])*"'
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


DEPTH_MAX = 64
FRAME_BYTES_MAX = 2048


class JobTexts:
    """Jobs that stand next to each other and differ in their params only."""

    def __init__(self, frame: bytes, params: list[bytes]) -> None:
        self.frame = frame
        self.has_params = params[0] != b""
        self._params = params

    @property
    def plain(self) -> bool:
        ascii_only = (re.sub(rb"[\x7f-\xff]", b"x", params) for params in self._params)
        return not self.has_params or all(json_is_plain(text, DEPTH_MAX) for text in ascii_only)

    def __len__(self) -> int:
        return len(self._params)

    def params_of(self, position: int) -> bytes:
        if position < 0:
            raise IndexError(position)
        return self._params[position]

    def fill(self, job_ids: bytes, head: bytes, middle: bytes, tail: bytes) -> list[bytes]:
        ids = _ids(job_ids)
        if len(ids) != len(self):
            raise ValueError("each job needs an id")
        return [
            head + id_text(job_id).encode() + middle + params + tail
            for job_id, params in zip(ids, self._params, strict=True)
        ]


def job_texts(body: bytes, jobs_max: int, alike_max: int) -> list[JobTexts] | None:
    # Latin-1, so that a place in the text is a place in the body.
    text = body.decode("latin-1")
    begin = _space_end(text, 0)
    try:
        if text[begin : begin + 1] == "[":
            jobs, end = _jobs_of(text, begin + 1)
        else:
            job, end = _job_of(text, begin)
            jobs = [job]
    except (ValueError, StopIteration, RecursionError):
        return None
    if _space_end(text, end) != len(text) or len(jobs) > jobs_max:
        return None
    runs: list[JobTexts] = []
    for frame, params in jobs:
        _add(runs, frame, params, alike_max)
    return runs


def _add(runs: list[JobTexts], frame: bytes, params: bytes, alike_max: int) -> None:
    if runs and runs[-1].frame == frame and len(runs[-1]) < alike_max:
        runs[-1]._params.append(params)
    else:
        runs.append(JobTexts(frame, [params]))


def job_texts_each(bodies: list[bytes], alike_max: int) -> tuple[list[JobTexts], list[int]]:
    runs: list[JobTexts] = []
    others: list[int] = []
    for position, body in enumerate(bodies):
        is_array = body.lstrip(b" \t\r\n").startswith(b"[")
        texts = None if is_array else job_texts(body, 1, 1)
        if texts is None:
            others.append(position)
        else:
            _add(runs, texts[0].frame, texts[0].params_of(0), alike_max)
    return runs, others


def _jobs_of(text: str, at: int) -> tuple[list[tuple[bytes, bytes]], int]:
    """Return frame and params of each job of an array, and where it ends."""
    jobs: list[tuple[bytes, bytes]] = []
    at = _space_end(text, at)
    if text[at : at + 1] == "]":
        return jobs, at + 1
    while True:
        job, at = _job_of(text, _space_end(text, at))
        jobs.append(job)
        at = _space_end(text, at) + 1
        if text[at - 1 : at] == "]":
            return jobs, at
        if text[at - 1 : at] != ",":
            raise ValueError("neither a comma nor the end")


def _job_of(text: str, begin: int) -> tuple[tuple[bytes, bytes], int]:
    """Return frame and params of the job that begins here, and where it ends."""
    params: tuple[int, int] | None = None
    members, end = _object_of(text, begin)
    for name, (at, behind) in members:
        if not re.fullmatch(r'"[\x20-\x21\x23-\x5b\x5d-\x7e]*"', name):
            raise ValueError("not a plain name")
        if name in ('"params"', '"parameters"'):
            if params is not None:
                raise ValueError("params come twice")
            params = at, behind
    job = text[begin:end].encode("latin-1")
    if len(job) - (params[1] - params[0] if params is not None else 0) > FRAME_BYTES_MAX:
        raise ValueError("a long frame")
    if params is None:
        return (job, b""), end
    at, behind = params[0] - begin, params[1] - begin
    return (job[:at] + b"null" + job[behind:], job[at:behind]), end


def _object_of(text: str, at: int) -> tuple[list[tuple[str, tuple[int, int]]], int]:
    """Return each member's name as it is written and the place of its value; and the end."""
    members: list[tuple[str, tuple[int, int]]] = []
    if text[at : at + 1] != "{":
        raise ValueError("not an object")
    at = _space_end(text, at + 1)
    if text[at : at + 1] == "}":
        return members, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise ValueError("not a name")
        name_at = at
        at = _value_end(text, at)
        name = text[name_at:at]
        at = _space_end(text, at)
        if text[at : at + 1] != ":":
            raise ValueError("no value")
        value_at = _space_end(text, at + 1)
        at = _value_end(text, value_at)
        members.append((name, (value_at, at)))
        at = _space_end(text, at) + 1
        if text[at - 1 : at] == "}":
            return members, at
        if text[at - 1 : at] != ",":
            raise ValueError("neither a comma nor the end")
        at = _space_end(text, at)


def _space_end(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _refuse(name: str) -> None:
    raise ValueError(name)


_decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=str, parse_int=str)


def _value_end(text: str, at: int) -> int:
    _, end = _decoder.raw_decode(text, at)
    depth = 0
    for bracket in re.sub(r'"(?:[^"\\]|\\.)*"', "", text[at:end]):
        depth += (bracket in "[{") - (bracket in "]}")
        if depth > DEPTH_MAX:
            raise ValueError("too deep")
    return end
