"""Byte sequences on whose division into requests two servers might disagree, built by combining their parts.

`TAG` stands where each sequence has a path of its own. Most end with a request for `/TAG/next`: whoever mistakes the
end of what comes before it sees it as a part of a body, or what was a body as a request.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

TAG = b"TAG"
HOST = b"Host: a.example\r\n"
NEXT = b"GET /TAG/next HTTP/1.1\r\n" + HOST + b"\r\n"
SMUGGLED = b"GET /TAG/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
_PIECES = (
    *(b"", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"\x00", b"0", b"5", b"\r\n\r\n", b"0\r\n\r\n"),
    *(CHUNKED, b"Content-Length: 5\r\n", b"Upgrade: foo\r\nConnection: upgrade\r\n", b"chunked", b"close", b"GET / "),
    *(b"HTTP/1.0", b"HTTP/1.1", HOST, b"\xff", b"-", b"x", b"Connection: close\r\n", b"Expect: 100-continue\r\n"),
)


def head(fields: bytes, method: bytes = b"POST", version: bytes = b"1.1", host: bytes = HOST) -> bytes:
    """A head with these field lines."""
    return method + b" /TAG/first HTTP/" + version + b"\r\n" + host + fields + b"\r\n"


def sequences() -> dict[str, bytes]:
    """All of them, by what is in them."""
    groups = (lengths, codings, both, chunks, line_ends, upgrades, request_lines, hosts, fields, connections, bodies)
    return {f"{group.__name__}: {name}": sent for group in groups for name, sent in group()}


def lengths() -> Iterator[tuple[str, bytes]]:
    """Spellings of Content-Length: 5."""
    values = (
        *(b"5", b"05", b"0000000000005", b"+5", b"-5", b"5 5", b"5,5", b"5, 5", b"5,6", b"5;", b"0x5", b"5.0", b"5e0"),
        *(b"", b" ", b'"5"', b"5\t", b" \t5", b"\x0b5", b"\x0c5", b"5\x00", b"\xa05", b"5_0", b"five", b"0", b"-0"),
        *(b"4", b"18446744073709551615", b"18446744073709551621", b"9" * 40, b"5\r\n 5", b"\r\n 5", b"5\r5"),
        "٥".encode(),
    )
    for value in values:
        yield repr(value), head(b"Content-Length: " + value + b"\r\n") + b"hello" + NEXT
    names: tuple[bytes, ...] = (
        b"content-length",
        b"CONTENT-LENGTH",
        b"Content_Length",
        b"Content-Length ",
        b" Content-Length",
        b"\tC",
    )
    names += (b"Content-Length\t", b"Content-Length\x00", b"Content Length", b"X\r\nContent-Length", b"Content-Length:")
    for name in names:
        yield repr(name), head(name + b": 5\r\n") + b"hello" + NEXT
        yield f"{name!r} over a request", head(name + b": %d\r\n" % len(SMUGGLED)) + SMUGGLED + NEXT
    for first, second in (
        (b"5", b"5"),
        (b"5", b"6"),
        (b"6", b"5"),
        (b"0", b"5"),
        (b"5", b"0"),
        (b"5", b""),
        (b"", b"5"),
    ):
        twice = b"Content-Length: " + first + b"\r\nContent-Length: " + second + b"\r\n"
        yield f"{first!r} and {second!r}", head(twice) + b"hello" + NEXT


def codings() -> Iterator[tuple[str, bytes]]:
    """Spellings of Transfer-Encoding: chunked."""
    values = (
        *(b"chunked", b"Chunked", b"CHUNKED", b"\tchunked", b" chunked \t", b"chunked,", b",chunked", b"chunked;q=1"),
        *(b"chunked, identity", b"identity", b"identity, chunked", b"gzip", b"gzip, chunked", b"chunked, gzip", b"x"),
        *(b"chunked, chunked", b'"chunked"', b"'chunked'", b"xchunked", b"chunkedx", b"chunked\x00", b"\x0bchunked"),
        *(
            b"chunked\x0b",
            b"",
            b"\x00",
            b"chun\r\n ked",
            b"\r\n chunked",
            b"chunked\r\n ",
            b"ch\xc3\xbcnked",
            b"chunke",
        ),
    )
    for value in values:
        for version in (b"1.1", b"1.0"):
            sent = head(b"Transfer-Encoding: " + value + b"\r\n", version=version)
            yield f"{value!r} in {version!r}", sent + HELLO + NEXT
    names: tuple[bytes, ...] = (
        b"transfer-encoding",
        b"Transfer_Encoding",
        b"Transfer-Encoding ",
        b" Transfer-Encoding",
        b"TE",
    )
    names += (b"Transfer-Encoding\t", b"Transfer-Encoding\x00", b"X\r\nTransfer-Encoding", b"X\nTransfer-Encoding")
    for name in names:
        yield repr(name), head(name + b": chunked\r\n") + HELLO + NEXT
    for second in (b"chunked", b"identity", b"gzip", b""):
        yield f"and {second!r}", head(CHUNKED + b"Transfer-Encoding: " + second + b"\r\n") + HELLO + NEXT
        yield f"behind {second!r}", head(b"Transfer-Encoding: " + second + b"\r\n" + CHUNKED) + HELLO + NEXT


def both() -> Iterator[tuple[str, bytes]]:
    """Content-Length and Transfer-Encoding in one request."""
    for length in (b"5", b"0", b"3", b"%d" % len(HELLO), b"%d" % len(b"0\r\n\r\n" + SMUGGLED), b"x", b""):
        counted = b"Content-Length: " + length + b"\r\n"
        for coding in (b"chunked", b"identity", b"xchunked", b" chunked", b"chunked\x0b"):
            coded = b"Transfer-Encoding: " + coding + b"\r\n"
            yield f"{length!r}, {coding!r}", head(counted + coded) + HELLO + NEXT
            yield f"{coding!r}, {length!r}", head(coded + counted) + b"0\r\n\r\n" + SMUGGLED + NEXT
        yield f"{length!r} in 1.0", head(counted + CHUNKED, version=b"1.0") + HELLO + NEXT


def chunks() -> Iterator[tuple[str, bytes]]:
    """Spellings of a chunked body."""
    sizes = (
        *(b"5", b"05", b"0005", b"0" * 30 + b"5", b"5 ", b" 5", b"5\t", b"0x5", b"+5", b"-5", b"5;", b"5;a", b"5;a=b"),
        *(b'5;a="b"', b'5;a="b;c"', b"5;a;b=c", b"5 ;a", b"5; a", b"5;a\x00", b'5;a="\r\n"', b"5;a\r", b"5;a\n", b";a"),
        *(b"", b"g", b"5g", b"5_", b"5.0", b"5,", b"10000000000000005", b"fffffffffffffffff", b"F" * 16, b"5\x0b"),
        *(b"A", b"4", b"6", b"5;" + b"a" * 2000, b"5;\xc3\xbc=1", b"5\r\n", b"\r\n5", b"\n5"),
    )
    for size in sizes:
        yield f"size {size!r}", head(CHUNKED) + size + b"\r\nhello\r\n0\r\n\r\n" + NEXT
    lasts = (b"0", b"00", b"0;a=b", b"0 ", b"-0", b"0x0", b"0" * 40, b"", b" 0", b"0\r", b"0\x00")
    for last in lasts:
        yield f"last {last!r}", head(CHUNKED) + b"5\r\nhello\r\n" + last + b"\r\n\r\n" + NEXT
    for end in (b"\n", b"\r", b"", b"\r\n\r\n", b"\n\r\n", b"\r\r\n", b" \r\n", b"x\r\n"):
        yield f"data ends {end!r}", head(CHUNKED) + b"5\r\nhello" + end + b"0\r\n\r\n" + NEXT
        yield f"size ends {end!r}", head(CHUNKED) + b"5" + end + b"hello\r\n0\r\n\r\n" + NEXT
        yield f"body ends {end!r}", head(CHUNKED) + b"5\r\nhello\r\n0\r\n" + end + NEXT
    trailers = (
        *(b"X: y", b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close"),
        *(b"Host: b.example", b"Upgrade: foo\r\nConnection: upgrade", b"X : y", b"X", b" X: y", b"X: y\r\n z", b": y"),
        *(b"X: y\nZ: 1", b"X: y\rZ: 1", b"X: \x00", b"X:", b"GET /TAG/smuggled HTTP/1.1", b"X: " + b"y" * 3000),
        *(b"Proxy-Connection: close", b"Expect: 100-continue", b"Trailer: X", b"X: y\r\nX: y"),
    )
    for trailer in trailers:
        yield f"trailer {trailer!r}", head(CHUNKED) + b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n" + NEXT
    for body in (
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"0\r\n\r\n" + SMUGGLED,
        b"\r\n0\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
        b"\n\r\n\r\n",
    ):
        yield f"data {body!r}", head(CHUNKED) + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" + NEXT
    yield "many", head(CHUNKED) + b"1\r\nx\r\n" * 200 + b"0\r\n\r\n" + NEXT
    yield "incomplete", head(CHUNKED) + b"5\r\nhello\r\n0\r\n"
    yield "nothing", head(CHUNKED) + b"0\r\n\r\n" + NEXT


def line_ends() -> Iterator[tuple[str, bytes]]:
    """Ends of lines other than CR LF, at each place where a line of a head ends; and blank lines."""
    lines = [b"POST /TAG/first HTTP/1.1", b"Host: a.example", b"Content-Length: 5", b"X: y", b""]
    for end in (b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r\n\r", b" \r\n", b"\x00\r\n", b"\x0b\r\n", b"\xc2\x85", b""):
        for place in range(len(lines)):
            sent = b"".join(line + (end if at == place else b"\r\n") for at, line in enumerate(lines))
            yield f"{end!r} in line {place + 1}", sent + b"hello" + NEXT
    whole = head(b"Content-Length: 5\r\n") + b"hello"
    yield "all LF", whole.replace(b"\r\n", b"\n") + NEXT.replace(b"\r\n", b"\n")
    yield "all CR", whole.replace(b"\r\n", b"\r") + NEXT.replace(b"\r\n", b"\r")
    for blank in (
        b"\r\n",
        b"\r\n" * 3,
        b"\n",
        b"\r",
        b"\r\r\n",
        b"\n\r\n",
        b" ",
        b"\t\r\n",
        b"\x00",
        b"\r\n\n",
        b"\r\n ",
    ):
        yield f"{blank!r} before", blank + whole + NEXT
        yield f"{blank!r} between", whole + blank + NEXT
    for control in (b"\x00", b"\x01", b"\x08", b"\x1f", b"\x7f", b"\xff", b"\xc3\xbc"):
        yield f"value with {control!r}", head(b"X: a" + control + b"b\r\nContent-Length: 5\r\n") + b"hello" + NEXT
        yield f"name with {control!r}", head(b"X" + control + b": b\r\nContent-Length: 5\r\n") + b"hello" + NEXT


def upgrades() -> Iterator[tuple[str, bytes]]:
    """Upgrade to all kinds of protocols, with all kinds of bodies, that look like requests."""
    tokens = (b"foo", b"websocket", b"h2c", b"WebSocket", b"websocket, foo", b"TLS/1.0", b"", b"foo\r\nUpgrade: bar")
    named = (b"Upgrade", b"upgrade, HTTP2-Settings", b"keep-alive, Upgrade", b"close, upgrade", b"keep-alive")
    framed: tuple[bytes, ...] = (
        b"",
        b"Content-Length: 0\r\n\r\n",
        b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    )
    framed += (CHUNKED + b"\r\n%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",)
    for token in tokens:
        for options in named:
            for at, rest in enumerate(framed):
                start = b"POST /TAG/first HTTP/1.1\r\n" + HOST + b"Connection: " + options + b"\r\nUpgrade: " + token
                yield f"{token!r} by {options!r}, body {at}", start + b"\r\n" + (rest or b"\r\n") + NEXT
    handshake = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    for fields in (b"", KEY, KEY + b"Sec-WebSocket-Version: 8\r\n", KEY + b"Sec-WebSocket-Version: 13\r\n"):
        for rest in framed[1:]:
            start = b"GET /TAG/first HTTP/1.1\r\n" + HOST + handshake + fields
            yield f"handshake with {fields!r} and {rest[:14]!r}", start + rest + NEXT
        yield f"handshake with {fields!r}", b"GET /TAG/first HTTP/1.0\r\n" + HOST + handshake + fields + b"\r\n" + NEXT
    for name in (b"Proxy-Connection", b"Connection\t", b"connection", b"X\r\nConnection"):
        start = name + b": upgrade\r\nUpgrade: foo\r\nContent-Length: %d\r\n" % len(SMUGGLED)
        yield f"by {name!r}", head(start) + SMUGGLED + NEXT


def request_lines() -> Iterator[tuple[str, bytes]]:
    """Request lines, good and bad."""
    rest = HOST + b"\r\n"
    for version in (
        *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3", b"http/1.1"),
        *(b"HTTP/1.1x", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1,1", b"HTTP 1.1", b"HTTP/ 1.1", b"RTSP/1.1", b"ICE/1.0"),
        *(b"HTTPS/1.1", b"XHTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1\t", b" HTTP/1.1", b"\tHTTP/1.1", b"", b"HTTP/1.1 x"),
    ):
        yield f"version {version!r}", b"GET /TAG/first " + version + b"\r\n" + rest + NEXT
    for target in (
        *(b"/TAG/a b", b"/TAG/a\tb", b"/TAG/\x00", b"/TAG/\xc3\xbc", b"/TAG/%00", b"/TAG/%0d%0aX:%20y", b"/TAG/a#b"),
        *(
            b"*",
            b"",
            b"TAG",
            b"//TAG/a",
            b"/TAG/../a",
            b"http://a.example/TAG/a",
            b"http://a.example",
            b"HTTP://a/TAG/a",
        ),
        *(b"http://b.example/TAG/a?b#c", b"http://u@a.example/TAG/a", b"ftp://a.example/TAG", b"a.example:80"),
        *(b"/TAG/?a=b?c", b"/TAG/" + b"a" * 5000, b"?TAG", b"http:/TAG/a", b"http://a.example:99999/TAG/a"),
    ):
        yield f"target {target[:30]!r}", b"GET " + target + b" HTTP/1.1\r\n" + rest + NEXT
    for method in (
        b"GET",
        b"get",
        b"FOO",
        b"G T",
        b"G\x00T",
        b" GET",
        b"GET ",
        b"CONNECT",
        b"PRI",
        b"M-SEARCH",
        b"G(T",
    ):
        yield f"method {method!r}", method + b" /TAG/first HTTP/1.1\r\n" + rest + NEXT
    yield "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NEXT
    yield "OPTIONS *", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello" + NEXT
    yield "CONNECT", b"CONNECT a.example:80 HTTP/1.1\r\n" + rest + NEXT


def hosts() -> Iterator[tuple[str, bytes]]:
    """Host, none, several, and malformed."""
    for host in (
        *(b"", b"Host:\r\n", HOST + HOST, HOST + b"Host: b.example\r\n", b"Host: a, b\r\n", b"Host: a b\r\n"),
        *(
            b"Host : a\r\n",
            b"Host: a:99999\r\n",
            b"Host: a:\r\n",
            b"Host: [::1]:80\r\n",
            b"Host: u@a\r\n",
            b"Host: a/b\r\n",
        ),
        *(b"host: a\r\n", b"Host: a\r\n b\r\n", b" Host: a\r\n", b"Host:a\r\n", b"Host: \ta \r\n", b"Host: a?b\r\n"),
    ):
        for version in (b"1.1", b"1.0"):
            yield (
                f"{host!r} in {version!r}",
                head(b"Content-Length: 5\r\n", version=version, host=host) + b"hello" + NEXT,
            )


def fields() -> Iterator[tuple[str, bytes]]:
    """Field lines, good and bad, before Content-Length and behind it."""
    for line in (
        *(
            b"X: y",
            b"X:y",
            b"X:",
            b"X: ",
            b"X",
            b":",
            b": y",
            b"X : y",
            b" X: y",
            b"\tX: y",
            b"X: y\r\n z",
            b"X: y\r\n\tz",
        ),
        *(b"X:\r\n \r\n y", b"X: y: z", b'X: "y', b"X(Y): z", b"X/Y: z", b'"X": y', b"X[]: y", b"X\\: y", b"X;Y: z"),
        *(
            b"!#$%&'*+-.^_`|~: y",
            b"X: " + b"y" * 4000,
            b"X" * 300 + b": y",
            b"X: y\r\n" * 60 + b"X: y",
            b"GET / HTTP/1.1",
        ),
    ):
        for at, lines in enumerate((line + b"\r\nContent-Length: 5\r\n", b"Content-Length: 5\r\n" + line + b"\r\n")):
            yield f"{line[:30]!r} {('before', 'behind')[at]}", head(lines) + b"hello" + NEXT


def connections() -> Iterator[tuple[str, bytes]]:
    """What may end the connection, or take a field that frames the body for one of a single hop."""
    for options in (
        *(b"close", b"Close", b"keep-alive", b"close, keep-alive", b"keep-alive, close", b"foo, close", b"closed", b""),
        *(
            b"content-length",
            b"transfer-encoding",
            b"close, content-length",
            b"host",
            b"close;x",
            b"\tclose",
            b"close,",
        ),
        *(
            b"keep-alive\r\nConnection: close",
            b"close\r\nConnection: keep-alive",
            b"upgrade",
            b'"close"',
            b"TE, trailers",
        ),
    ):
        for version in (b"1.1", b"1.0"):
            listed = b"Connection: " + options + b"\r\n"
            yield (
                f"{options!r} in {version!r}",
                head(listed + b"Content-Length: 5\r\n", version=version) + b"hello" + NEXT,
            )
        yield f"{options!r} over chunks", head(listed + CHUNKED) + HELLO + NEXT
    for name in (b"Proxy-Connection", b"Keep-Alive", b"TE", b"Trailer"):
        yield name.decode(), head(name + b": close\r\nContent-Length: 5\r\n") + b"hello" + NEXT


def bodies() -> Iterator[tuple[str, bytes]]:
    """Bodies of all methods, one behind the other."""
    length = b"Content-Length: %d\r\n" % len(SMUGGLED)
    coded = b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"TRACE", b"QUERY", b"FOO"):
        yield f"{method!r} counted", head(length, method) + SMUGGLED + NEXT
        yield f"{method!r} chunked", head(CHUNKED, method) + coded + NEXT
        yield f"{method!r} none", head(b"", method) + NEXT
    for value in (b"100-continue", b"100-Continue", b"x", b"100-continue\r\nExpect: 100-continue"):
        expects = b"Expect: " + value + b"\r\n"
        yield f"expecting {value!r}", head(expects + length) + SMUGGLED + NEXT
        yield f"expecting {value!r} in 1.0", head(expects + length, version=b"1.0") + SMUGGLED + NEXT
        yield f"expecting {value!r}, chunked", head(expects + CHUNKED) + coded + NEXT
    parts = (head(b"", b"GET"), head(length) + SMUGGLED, head(CHUNKED) + coded, head(b"Content-Length: 0\r\n"))
    for first in parts:
        for second in parts:
            for third in parts:
                yield f"pipeline of {len(first)}, {len(second)}, {len(third)} bytes", (first + second + third + NEXT)


def mutations(count: int, seed: int) -> dict[str, bytes]:
    """So many sequences in which a few pieces that matter to framing are put in, left out, doubled, or replaced."""
    by_chance = random.Random(seed)
    whole = list(sequences().values())
    mutated = {}
    for number in range(count):
        sent = by_chance.choice(whole)
        for _ in range(by_chance.randint(1, 3)):
            at = by_chance.randrange(len(sent))
            until = at + by_chance.choice((0, 0, 1, 1, 2, 5, 20))
            sent = sent[:at] + by_chance.choice((*_PIECES, sent[at:until] * 2)) + sent[until:]
        mutated[f"{number}: {sent!r}"] = sent
    return mutated
