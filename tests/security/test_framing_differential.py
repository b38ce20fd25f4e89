"""Each byte sequence is divided into the same requests by this server, by h11, and by uvicorn's two protocols.

A server may refuse at any point. What two of them accept as the n-th request on a connection is the same for both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import zip_longest

import h11
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.protocol import protocol
from api.wire.patience import Limits
from tests.framing import Outcome, Seen, Wire
from tests.security.framing_corpus import sequences

pytestmark = [pytest.mark.skipif(protocol() == "auto", reason="there is no httptools here"), pytest.mark.sqlite]

Framing = tuple[str, str, bytes]
SEQUENCES = sequences()


def by_h11(sent: bytes) -> list[Framing]:
    """The requests that h11 accepts, each answered as soon as it is complete."""
    connection, seen = h11.Connection(h11.SERVER, 65_536), []
    connection.receive_data(sent)
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                seen.append(Seen(request.method.decode(), request.target.decode("latin-1"), body).framing)
                if request.method == b"CONNECT":
                    return seen
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return seen
                connection.start_next_cycle()
            else:
                return seen
    except h11.RemoteProtocolError:
        return seen


async def test_probe():
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    wires={"t":Wire(protocol(Limits())), "ut": Wire(HttpToolsProtocol), "uh": Wire(H11Protocol)}
    n=0; acc={k:0 for k in (*wires,"h11")}
    for name, sent in SEQUENCES.items():
        r={}
        for k,w in wires.items():
            try: r[k]=await w.send(sent)
            except Exception as e: print("EXC",k,name,repr(e)[:100]); r[k]=Outcome([],[],True,b"")
        f={k:v.framing for k,v in r.items()}; f["h11"]=by_h11(sent)
        for k in f: acc[k]+=len(f[k])
        for k in ("h11","ut","uh"):
            for a,b in zip(f["t"],f[k]):
                if a!=b: print("DIFF",k,name,a,b); break
        for a,b in zip(f["h11"],f["ut"]):
            if a!=b: n+=1; print("  other",name,a,b)
        o=r["t"]
        bad=[s for s in o.statuses if s>=400]
        if bad and (o.statuses[-1]<400 or len(bad)>1): print("AFTER", name,o.statuses)
        if len(o.seen)+len(bad)!=len(o.statuses): print("COUNT",name,o.statuses,o.framing)
        if bad and not o.ended: print("NOTENDED",name)
    print(acc)
