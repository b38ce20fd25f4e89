"""A token proves what its issuer signed for this service, now.

It chooses neither algorithm nor key, and nothing that it points to is fetched.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.testclient import TestClient

from api.app import create_app
from api.auth.authenticator import Authenticator
from api.auth.jwks import IssuerKeys, from_issuer, keys_in
from api.auth.tokens import TokenVerifier
from api.settings import InvalidSetting
from schema.engine.errors import InvalidCredential, Timeout
from schema.engine.operations.directory import Directory
from schema.migrations.commands import migrate
from tests.conftest import BASE_URL, CLIENT_ADDRESS
from tests.fixtures import access_table
from tests.fixtures.access_table import ADA, BOB
from tests.fixtures.credentials import SECRET, Clock, bearer, claims, production, token
from tests.security.test_keys import http_scope

ISSUER = "https://login.example.com/tenant"
RSA, OTHER_RSA = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PKCS1 = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)


def jwk(private, kid, **more):
    types = (rsa.RSAPrivateKey, RSAAlgorithm), (ec.EllipticCurvePrivateKey, ECAlgorithm), (object, OKPAlgorithm)
    algorithm: Any = next(algorithm for type, algorithm in types if isinstance(private, type))
    return {**json.loads(algorithm.to_jwk(private.public_key())), "kid": kid, "use": "sig", **more}


JWKS = {"keys": [jwk(RSA, "rsa", alg="RS256"), jwk(EC, "ec"), jwk(ED, "ed")]}


@pytest.fixture(scope="module")
def jwks_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("issuer") / "jwks.json"
    path.write_text(json.dumps(JWKS))
    return path


@pytest.fixture(scope="module")
def shared_database(template, tmp_path_factory):
    """A database with the people and groups of the access table."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("tokens") / "tandem.db"))
    access_table.populate(path)
    return path


@pytest.fixture(scope="module")
def http_client(shared_database, jwks_file):
    """The service in production: HS256 with its secret, the other algorithms with the issuer's keys."""
    more = {"TANDEM_OIDC_ISSUER": ISSUER, "TANDEM_OIDC_AUDIENCE": "directory", "TANDEM_JWKS_FILE": str(jwks_file)}
    with TestClient(
        create_app(production(shared_database, **more)), base_url=BASE_URL, client=CLIENT_ADDRESS
    ) as opened:
        yield opened


def issued(private=RSA, algorithm="RS256", kid="rsa", headers=None, **more):
    """A token of the issuer."""
    payload = claims(**{"aud": "directory", "iss": ISSUER, **more})
    key_header = {} if kid is None else {"kid": kid}
    return jwt.encode(payload, private, algorithm, headers={**key_header, **(headers or {})})


def part(value):
    """A segment of a token."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(header, payload, secret=None, digest=hashlib.sha256):
    """A token encoded here: signed with any secret, or with none."""
    signed = f"{part(header)}.{part(payload)}"
    signature = b"" if secret is None else hmac.new(secret, signed.encode(), digest).digest()
    return f"{signed}.{part(signature)}"


def status(http_client, credential):
    response = http_client.get("/me", headers={"authorization": f"Bearer {credential}".encode("latin-1", "replace")})
    if response.status_code == 401:
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert response.json()["detail"] == "the credential is not valid"
    return response.status_code


def padded(*, longest):
    """The largest valid token of at most 4 KiB, or the smallest of more."""
    tokens = [token(x="x" * size) for size in range(2850, 3000)]
    fitting = [credential for credential in tokens if len(credential) <= 4096]
    assert fitting[-1] != tokens[-1]
    return fitting[-1] if longest else tokens[len(fitting)]


VALID = {
    "ours": token(),
    "ours, 4 KiB long": padded(longest=True),
    "ours, with several audiences": token(aud=["other", "tandem"]),
    "ours, valid for a minute already": token(nbf=int(time.time()) - 60, iat=int(time.time()) - 60),
    "ours, with a fraction of a second": token(exp=time.time() + 86_400.5),
    "ours, from a clock a few seconds ahead": token(iat=int(time.time()) + 5),
    "ours, with additional claims": token(name="Ada", nested={"a": [1, None]}, jti="1"),
    "ours, as an access token": token(headers={"typ": "at+jwt"}),
    "RS256": issued(),
    "RS256 without a kid": issued(kid=None),
    "ES256": issued(EC, "ES256", "ec"),
    "EdDSA": issued(ED, "EdDSA", "ed"),
}


@pytest.mark.parametrize("name", VALID)
def test_a_valid_token_authenticates_its_user(http_client, name):
    response = http_client.get("/me", headers=bearer(VALID[name]))

    assert (response.status_code, response.json()["id"]) == (200, ADA["id"])
    assert response.json()["email"] == ADA["email"]


NOW = int(time.time())
OURS = {"alg": "HS256", "typ": "JWT"}
KEY = SECRET.encode()
good_header, good_payload, good_signature = token().split(".")
other_header, other_payload, other_signature = token(sub="ext-Bob").split(".")
rs_header, rs_payload, rs_signature = issued().split(".")


def flipped(signature):
    """A signature with another first letter."""
    return f"{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


NO_ALGORITHMS: tuple[Any, ...] = (
    "none", "None", "NONE", "nOnE", "", None, False, [], ["none"], {}, "none ", "\u200bnone",
)  # fmt: skip
NONE = {
    f"alg {alg!r}, {name}": f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims())}.{signature}"
    for alg in NO_ALGORITHMS
    for name, signature in {"no signature": "", "a short signature": "AA", "a valid signature": good_signature}.items()
}
CONFUSED = {
    f"{alg} under the public key as {name}": forged(
        {"alg": alg, "typ": "JWT", "kid": "rsa"},
        claims(aud=aud, iss=ISSUER),
        secret,
        {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[alg],
    )
    for alg in ("HS256", "HS384", "HS512")
    for aud in ("directory", ["directory", "tandem"])
    for name, secret in {
        "PEM": PEM, "PEM without its end": PEM.strip(), "DER": DER, "PKCS1": PKCS1,
        "JWK": json.dumps(JWKS["keys"][0]).encode(), "JWKS": json.dumps(JWKS).encode(),
        "modulus": JWKS["keys"][0]["n"].encode(), "nothing": b"",
    }.items()
}  # fmt: skip
CONFUSED |= {
    f"{name} without a kid": forged(OURS, claims(aud="tandem"), secret)
    for name, secret in {"PEM": PEM, "DER": DER, "zeros": b"\0" * 32, "secret": b"secret", "empty": b""}.items()
}
SIGNATURES = {
    "stripped": f"{good_header}.{good_payload}.",
    "stripped, with its dot": f"{good_header}.{good_payload}",
    "another token's": f"{good_header}.{good_payload}.{other_signature}",
    "foreign": token(secret="another secret of 32 bytes and some more"),
    "the issuer's, foreign": issued(OTHER_RSA),
    "cut short": token()[:-2],
    "with one bit flipped": f"{good_header}.{good_payload}.{flipped(good_signature)}",
    "spelled otherwise": f"{token()[:-1]}{chr(ord(token()[-1]) + 1)}",
    "on another payload": f"{good_header}.{other_payload}.{good_signature}",
    "on another header": f"{part({'alg': 'HS256'})}.{good_payload}.{good_signature}",
    "a longer algorithm": jwt.encode(claims(), SECRET * 2, "HS512"),
    "the same secret, another hash": jwt.encode(claims(), SECRET * 2, "HS384"),
    "RS512": jwt.encode(claims(aud="directory", iss=ISSUER), RSA, "RS512", headers={"kid": "rsa"}),
    "PS256": jwt.encode(claims(aud="directory", iss=ISSUER), RSA, "PS256", headers={"kid": "rsa"}),
    "ES256 under the RSA key's name": issued(EC, "ES256", "rsa"),
    "RS256 under the EC key's name": issued(RSA, "RS256", "ec"),
    **{f"{alg} of zeros": f"{part({'alg': alg, 'kid': kid})}.{part(claims(aud='directory', iss=ISSUER))}.{part(zeros)}"
       for alg, kid, zeros in (("ES256", "ec", bytes(64)), ("EdDSA", "ed", bytes(64)), ("RS256", "rsa", bytes(256)),
                               ("RS256", "rsa", b"\0"))},
}  # fmt: skip
KIDS = {
    f"kid {kid!r}"[:40] + f", {signer}": forged({**OURS, "kid": kid}, claims(), secret)
    for signer, secret in {"with an empty secret": b"", "signed by us": KEY}.items()
    for kid in (
        "../../../../dev/null", "/dev/null", "' UNION SELECT 'x' --", "rsa' OR '1'='1", "", " ", None, 0, 1, True, [],
        ["rsa"], {}, {"$ne": None}, "rsa\u0000", "x" * 5000, "http://evil.example/key", "| whoami", "none", "rsa",
    )
}  # fmt: skip
KIDS |= {
    f"the issuer's, kid {kid!r}"[:60]: issued(headers={"kid": kid}, kid=None)
    for kid in ("", "RSA", "rsa ", "rsa\n", "../rsa", "ec", "no such")
}
HEADERS = {
    f"{name} {number}, {signer}": sign(name, value)
    for signer, sign in {
        "signed with another key": lambda name, value: issued(OTHER_RSA, headers={name: value}),
        "signed by the issuer": lambda name, value: issued(headers={name: value}),
        "signed by us": lambda name, value: token(headers={name: value}),
    }.items()
    for number, (name, value) in enumerate((
        ("jku", "https://evil.example/jwks.json"), ("jku", f"{ISSUER}/jwks.json"), ("x5u", "https://evil.example/c.pem"),
        ("jwk", jwk(OTHER_RSA, "rsa")), ("x5c", [base64.b64encode(DER).decode()]), ("zip", "DEF"),
        ("crit", ["exp"]), ("crit", []), ("crit", "exp"), ("crit", ["b64"]), ("crit", None), ("enc", "A256GCM"),
    ))
}  # fmt: skip
HEADERS |= {
    "an unencoded payload": forged({**OURS, "b64": False, "crit": ["b64"]}, claims(), KEY),
    "b64 alone": forged({**OURS, "b64": True}, claims(), KEY),
    "typ of another use": forged({**OURS, "typ": "logout+jwt"}, claims(), KEY),
    "typ that is no text": forged({**OURS, "typ": 1}, claims(), KEY),
}
NO_AUDIENCES: tuple[Any, ...] = ("", None, 1, [], ["other"], "other", "Tandem", "tandem ", "tande", "tandem,other",
                     [["tandem"]], {"tandem": 1}, ["tandem", 1], ["tandem", None], "directory", "*")  # fmt: skip
NO_ISSUERS: tuple[Any, ...] = (1, None, [ISSUER], {})
NO_SUBJECTS: tuple[Any, ...] = (
    "", None, 1, True, [], ["ext-Ada"], {"ext-Ada": 1}, "x" * 256, "ext-Ada\u0000", "a\nb",
)  # fmt: skip
TIMES: tuple[Any, ...] = ("soon", "", "9999999999", None, True, [NOW + 60], {"a": 1}, -1, 1e400, 10**18, "Infinity")
CLAIMS = {
    **{f"no {name}": forged(OURS, claims(**{name: None}), KEY) for name in ("sub", "aud", "exp")},
    **{f"no {name} from the issuer": issued(**{name: None}) for name in ("sub", "aud", "exp", "iss")},
    **{f"{name} of the wrong kind, {number}": forged(OURS, {**claims(), name: value}, KEY)
       for name in ("exp", "nbf", "iat") for number, value in enumerate(TIMES)},
    **{f"sub {value!r}"[:40]: forged(OURS, {**claims(), "sub": value}, KEY)
       for value in NO_SUBJECTS},
    **{f"aud {value!r}": forged(OURS, {**claims(), "aud": value}, KEY)
       for value in NO_AUDIENCES},
    **{f"iss {value!r}": forged(OURS, {**claims(), "iss": value}, KEY) for value in NO_ISSUERS},
    **{f"the issuer's iss {value!r}": issued(iss=value) for value in (
        f"{ISSUER}/", ISSUER[:-1], ISSUER.upper(), ISSUER.replace("https", "http"), f" {ISSUER}", "", "https://evil.example",
        f"{ISSUER}@evil.example", f"{ISSUER}#")},
    "our audience, from the issuer": issued(aud="tandem"),
    "expired": token(exp=NOW - 1),
    "long expired": token(exp=1),
    "not yet valid": token(nbf=NOW + 50_000),
    "not yet valid for long": token(nbf=NOW + 10**8),
    "issued in the future": token(iat=NOW + 50_000),
    "the issuer's, expired": issued(exp=NOW - 1),
    "jti that is no text": forged(OURS, {**claims(), "jti": 1}, KEY),
}  # fmt: skip


def raw(header, payload):
    """A validly signed token of ours whose segments are these bytes."""
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(hmac.new(KEY, signed.encode(), hashlib.sha256).digest())}"


def resigned(signed):
    return f"{signed}.{part(hmac.new(KEY, signed.encode(), hashlib.sha256).digest())}"


plain = json.dumps(claims()).encode()
SPELLINGS = {
    "alg twice": raw(b'{"alg":"HS256","alg":"none"}', plain),
    "alg twice, the other way": raw(b'{"alg":"none","alg":"HS256"}', plain),
    "sub twice": raw(json.dumps(OURS).encode(), b'{"sub":"ext-Bob",' + plain[1:]),
    "aud twice": raw(json.dumps(OURS).encode(), b'{"aud":"other",' + plain[1:]),
    "a header that is no object": raw(b'["HS256"]', plain),
    "a header that is a string": raw(b'"HS256"', plain),
    "a header that is null": raw(b"null", plain),
    "a header that is no JSON": raw(b"{alg:HS256}", plain),
    "a header with a byte order mark": raw(b'\xef\xbb\xbf{"alg":"HS256"}', plain),
    "a header not in UTF-8": raw(b'{"alg":"HS256","x":"\xff"}', plain),
    "a header in UTF-16": raw('{"alg":"HS256"}'.encode("utf-16"), plain),
    "a deeply nested header": raw(b'{"alg":"HS256","x":' + b"[" * 1000 + b"]" * 1000 + b"}", plain),
    "an empty header": raw(b"{}", plain),
    "a payload that is a list": raw(json.dumps(OURS).encode(), b"[" + plain + b"]"),
    "a payload not in UTF-8": raw(json.dumps(OURS).encode(), plain[:-1] + b',"x":"\xff"}'),
    "a payload with NaN": raw(json.dumps(OURS).encode(), plain[:-1] + b',"nbf":NaN}'),
    "a payload with Infinity": raw(json.dumps(OURS).encode(), plain[:-1] + b',"x":Infinity}'),
    "a deeply nested payload": raw(json.dumps(OURS).encode(), plain[:-1] + b',"x":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "a payload with a lone surrogate": raw(json.dumps(OURS).encode(), plain[:-1] + b',"x":"\\ud800"}'),
    "padded": f"{token()}=",
    "padded inside": resigned(f"{good_header}=.{good_payload}="),
    "plain base64": token().replace("_", "/").replace("-", "+") + "+/",
    "a space before": f" {token()}",
    "a space inside": token().replace(".", ". ", 1),
    "a line break inside": token().replace(".", ".\n", 1),
    "an additional dot": f"{token()}.",
    "a dot before": f".{token()}",
    "four segments": f"{token()}.{good_signature}",
    "five segments, as if encrypted": ".".join([good_header, "AA", "AA", "AA", "AA"]),
    "two segments": f"{good_header}.{good_payload}",
    "a single segment": good_header,
    "only dots": "..",
    "JSON for a token": json.dumps({"protected": good_header, "payload": good_payload, "signature": good_signature}),
    "huge": token(x="x" * 9000),
    "more than 4 KiB": padded(longest=False),
    "only letters": "A" * 300,
    "not ASCII": token().replace(".", "\u00e9.", 1),
    "a full stop of another script": token().replace(".", "\u3002"),
}  # fmt: skip
ATTACKS = {
    f"{category}: {name}": credential
    for category, cases in {
        "none": NONE, "confusion": CONFUSED, "signature": SIGNATURES, "kid": KIDS, "headers": HEADERS,
        "claims": CLAIMS, "spelling": SPELLINGS,
    }.items()
    for name, credential in cases.items()
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_forged_tokens_are_refused(http_client, name):
    assert status(http_client, ATTACKS[name]) == 401


def test_there_are_many_forgeries():
    assert len(ATTACKS) > 250


def test_forged_tokens_are_refused_by_graphql(http_client):
    for attack in list(ATTACKS.values())[::7]:
        header = {"authorization": f"Bearer {attack}".encode("latin-1", "replace")}
        assert http_client.post("/graphql", json={"query": "{ __typename }"}, headers=header).status_code == 401


@pytest.fixture(scope="module")
def served(shared_database):
    """A function that starts the service with other settings."""
    opened = []

    def serve(**settings):
        service = TestClient(
            create_app(production(shared_database, **settings)), base_url=BASE_URL, client=CLIENT_ADDRESS
        )
        opened.append(service.__enter__())
        return service

    yield serve
    for service in opened:
        service.__exit__(None, None, None)


def test_without_a_secret_hs256_is_refused(served):
    http_client = served(SECRET_KEY="")

    assert status(http_client, token()) == 401
    assert status(http_client, forged(OURS, claims(), b"")) == 401


def test_without_an_issuer_its_algorithms_are_refused(served):
    http_client = served()

    for credential in (issued(), issued(EC, "ES256", "ec"), issued(ED, "EdDSA", "ed"), issued(kid=None)):
        assert status(http_client, credential) == 401


def test_secrets_are_rotated_by_their_names(served):
    new, old, lost = ("n" * 32, "o" * 32, "l" * 32)
    http_client = served(SECRET_KEY=f"new:{new},old:{old}")

    assert status(http_client, token(new, {"kid": "new"})) == 200
    assert status(http_client, token(old, {"kid": "old"})) == 200
    assert status(http_client, token(old)) == 200  # from before secrets had names
    assert status(http_client, token(old, {"kid": "new"})) == 401
    assert status(http_client, token(new, {"kid": "old"})) == 401
    assert status(http_client, token(new, {"kid": "other"})) == 401
    assert status(http_client, token(lost, {"kid": "new"})) == 401


def test_the_audience_is_a_setting(served):
    http_client = served(TANDEM_JWT_AUDIENCE="people")

    assert status(http_client, token(aud="people")) == 200
    assert status(http_client, token()) == 401


@pytest.mark.slow
def test_a_subject_is_matched_with_one_field(served):
    by_id = served(TANDEM_JWT_SUBJECT="id")
    by_external_id = served(TANDEM_JWT_SUBJECT="external_id")

    assert status(by_id, token(sub=ADA["id"])) == 200
    assert status(by_id, token(sub=ADA["external_id"])) == 404
    assert status(by_external_id, token(sub=ADA["external_id"])) == 200
    assert status(by_external_id, token(sub=ADA["id"])) == 404
    assert status(by_external_id, token(sub=ADA["external_id"].upper())) == 404
    assert status(by_external_id, token(sub=ADA["email"])) == 404


ROLES = [
    ({"roles": ["reader"]}, {"reader"}),
    ({"roles": ["editor", "admin"]}, {"editor", "admin"}),
    ({"roles": "reader editor"}, {"reader", "editor"}),
    ({"roles": ["boss", "Admin", "ADMIN", " admin", "reader"]}, {"reader"}),
    ({"roles": {"admin": True}}, set()),
    ({"roles": [["admin"], {"admin": 1}, None, 1]}, set()),
    ({"roles": None}, set()),
    ({"role": "admin", "groups": ["admin"], "scope": "admin"}, set()),
]


@pytest.mark.parametrize("role_claims, roles", ROLES)
async def test_roles_are_the_known_ones_that_the_claim_names(shared_database, role_claims, roles):
    credential = forged(OURS, {**claims(), **role_claims}, KEY)
    async with Directory(str(shared_database)) as directory:
        actor = await Authenticator(production(shared_database))(http_scope(credential, directory))

    assert (actor.roles, actor.id, actor.name) == (roles, ADA["id"], "token:ext-Ada")


@pytest.mark.parametrize(
    "name, role_claims",
    [
        ("realm_access.roles", {"realm_access": {"roles": ["editor"]}}),
        ("https://example.com/roles", {"https://example.com/roles": ["editor"]}),
        ("a.b", {"a.b": ["editor"], "a": {"b": ["admin"]}}),
    ],
)
async def test_the_name_of_the_roles_claim_is_a_setting(shared_database, name, role_claims):
    async with Directory(str(shared_database)) as directory:
        authenticator = Authenticator(production(shared_database, TANDEM_JWT_ROLES_CLAIM=name))
        actor = await authenticator(http_scope(token(roles=["admin"], **role_claims), directory))

    assert actor.roles == {"editor"}


def test_a_subject_without_a_user_has_its_roles_only(http_client):
    without_roles = bearer(token(sub="ext-Zed"))
    reader = bearer(token(sub="ext-Zed", roles=["reader"]))

    assert http_client.get("/me", headers=without_roles).status_code == 404
    assert http_client.get("/users", headers=without_roles).status_code == 403
    assert http_client.get(f"/users/{ADA['id']}", headers=without_roles).status_code == 404
    assert http_client.get("/users", headers=reader).status_code == 200
    assert http_client.get(f"/users/{ADA['id']}", headers=reader).json()["email"] is None


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("credential_cache", "actors", "tokens", "jwks"):
        monkeypatch.setattr(f"api.auth.{module}.time", clock)
    return clock


def test_a_deactivated_users_token_is_refused(http_client):
    admin, bob = bearer(token(sub="ext-Zed", roles=["admin"])), bearer(token(sub="ext-Bob", roles=["editor"]))
    assert http_client.get("/me", headers=bob).status_code == 200

    http_client.post(f"/users/{BOB['id']}/deactivate", json={}, headers=admin)
    off = http_client.get("/me", headers=bob).status_code
    http_client.post(f"/users/{BOB['id']}/activate", json={}, headers=admin)

    assert (off, http_client.get("/me", headers=bob).status_code) == (401, 200)


def test_a_user_deactivated_by_another_process_is_refused_within_five_seconds(http_client, shared_database, clock):
    bob = bearer(token(sub="ext-Bob"))
    assert http_client.get("/me", headers=bob).status_code == 200

    with closing(sqlite3.connect(shared_database)) as connection:
        connection.execute("UPDATE user SET active = 0 WHERE id = ?", [BOB["id"]])
        connection.commit()
    clock.ahead += 5
    off = http_client.get("/me", headers=bob).status_code
    with closing(sqlite3.connect(shared_database)) as connection:
        connection.execute("UPDATE user SET active = 1 WHERE id = ?", [BOB["id"]])
        connection.commit()

    assert off == 401


def test_a_token_is_valid_until_it_expires(http_client, clock):
    ada = bearer(token(exp=time.time() + 100))

    assert http_client.get("/me", headers=ada).status_code == 200
    clock.ahead += 99
    assert http_client.get("/me", headers=ada).status_code == 200
    clock.ahead += 1
    assert http_client.get("/me", headers=ada).status_code == 401


async def test_a_recently_verified_token_is_not_verified_again(shared_database, monkeypatch):
    statements: list[str] = []
    verified: list[str] = []
    decode = jwt.decode

    def recording_decode(credential, *arguments, **options):
        verified.append(credential)
        return decode(credential, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", recording_decode)
    async with Directory(str(shared_database), on_statement=statements.append) as directory:
        authenticator, ada = Authenticator(production(shared_database)), token()

        for _ in range(100):
            await authenticator(http_scope(ada, directory))

    assert len(verified) == 1
    assert len([sql for sql in statements if "SELECT" in sql]) == 1


Page = tuple[int, bytes, dict[str, str]]


class Issuer:
    """An OpenID issuer on this machine; `requests` are the paths that it received."""

    def __init__(self):
        self.keys = JWKS
        self.requests: list[str] = []
        self.pages: dict[str, Page] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.requests.append(self.path)
                status, body, headers = issuer.page(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/tenant"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def page(self, path):
        if path in self.pages:
            return self.pages[path]
        configuration = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        document = {"/tenant/.well-known/openid-configuration": configuration, "/tenant/keys": self.keys}.get(path)
        return (200, json.dumps(document).encode(), {}) if document else (404, b"", {})

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def issuer():
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def tokens(issuer, shared_database):
    """Verifies this issuer's tokens."""
    settings = production(shared_database, TANDEM_OIDC_ISSUER=issuer.url, TANDEM_OIDC_AUDIENCE="directory")
    return TokenVerifier(settings, IssuerKeys(from_issuer(issuer.url)))


async def test_keys_are_fetched_from_the_jwks_uri_of_the_issuer(issuer, tokens):
    token_claims = [await tokens.verify(issued(iss=issuer.url)) for _ in range(20)]

    assert {claim.subject for claim in token_claims} == {"ext-Ada"}
    assert issuer.requests == ["/tenant/.well-known/openid-configuration", "/tenant/keys"]


async def test_concurrent_requests_share_one_fetch(issuer, tokens):
    token_claims = await asyncio.gather(*(tokens.verify(issued(iss=issuer.url, n=number)) for number in range(100)))

    assert all(token_claims)
    assert len(issuer.requests) == 2


async def test_fetches_for_unknown_keys_are_limited(issuer, tokens, clock):
    assert await tokens.verify(issued(iss=issuer.url))
    issuer.requests.clear()

    for number in range(50):
        assert await tokens.verify(issued(OTHER_RSA, kid=f"unknown {number}", iss=issuer.url)) is None
    clock.ahead += 11
    for number in range(50):
        assert await tokens.verify(issued(OTHER_RSA, kid=f"unknown {number}", iss=issuer.url)) is None
    assert len(issuer.requests) <= 2

    issuer.keys = {"keys": [jwk(OTHER_RSA, "next")]}
    clock.ahead += 11
    assert await tokens.verify(issued(OTHER_RSA, kid="next", iss=issuer.url))
    assert await tokens.verify(issued(iss=issuer.url)) is None  # the old key is withdrawn


async def test_old_keys_stay_when_a_fetch_fails(issuer, tokens, clock):
    lasting = issued(iss=issuer.url, exp=int(time.time()) + 50_000)
    assert await tokens.verify(lasting)
    issuer.pages["/tenant/keys"] = (500, b"", {})
    clock.ahead += 1000

    assert await tokens.verify(issued(OTHER_RSA, kid="unknown", iss=issuer.url, exp=int(time.time()) + 50_000)) is None
    assert await tokens.verify(lasting)


BAD_PAGES: dict[str, Page] = {
    "no response": (404, b"", {}),
    "a failure": (500, b"", {}),
    "no JSON": (200, b"<html>", {}),
    "no object": (200, b"[]", {}),
    "another issuer": (200, b'{"issuer":"https://evil.example","jwks_uri":"https://evil.example/keys"}', {}),
    "a redirect": (302, b"", {"location": "/tenant/elsewhere"}),
    "far too much": (200, b" " * 600_000, {}),
}


@pytest.mark.parametrize("name", BAD_PAGES)
async def test_without_a_valid_configuration_of_the_issuer_tokens_are_not_verified(issuer, tokens, name):
    configuration = json.dumps({"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}).encode()
    issuer.pages["/tenant/elsewhere"] = (200, configuration, {})
    issuer.pages["/tenant/.well-known/openid-configuration"] = BAD_PAGES[name]

    with pytest.raises(Timeout):
        await tokens.verify(issued(iss=issuer.url))
    assert "/tenant/keys" not in issuer.requests


@pytest.mark.parametrize("jwks_uri", ["http://evil.example/keys", "file:///etc/passwd", "ftp://127.0.0.1", "", None, 1])
async def test_keys_are_fetched_by_https_only(issuer, tokens, jwks_uri):
    configuration = json.dumps({"issuer": issuer.url, "jwks_uri": jwks_uri}).encode()
    issuer.pages["/tenant/.well-known/openid-configuration"] = (200, configuration, {})

    with pytest.raises(Timeout):
        await tokens.verify(issued(iss=issuer.url))


async def test_tokens_of_other_algorithms_do_not_wait_for_the_issuer(issuer, tokens):
    assert await tokens.verify(token())
    for attack in NONE.values():
        assert await tokens.verify(attack) is None
    assert issuer.requests == []


WEAK = rsa.generate_private_key(65537, 1024)
UNUSED = {
    "too short": jwk(WEAK, "k"),
    "a secret": {"kty": "oct", "k": part(KEY), "kid": "k"},
    "a secret under a public name": {"kty": "oct", "k": part(KEY), "kid": "k", "alg": "RS256"},
    "for encrypting": jwk(RSA, "k", use="enc"),
    "for signing only": jwk(RSA, "k", key_ops=["sign"]),
    "for another algorithm": jwk(RSA, "k", alg="PS256"),
    "for a secret's algorithm": jwk(RSA, "k", alg="HS256"),
    "without a modulus": {"kty": "RSA", "e": "AQAB", "kid": "k"},
    "on another curve": jwk(ec.generate_private_key(ec.SECP384R1()), "k"),
    "with a name that is no text": jwk(RSA, 7),
    "without a type": {"kid": "k"},
}


@pytest.mark.parametrize("name", UNUSED)
def test_keys_that_are_weak_or_for_another_use_are_ignored(name):
    assert list(keys_in(json.dumps({"keys": [UNUSED[name], "nonsense", None]}).encode())) == []


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b"null", b"\xff"])
def test_an_invalid_key_set_is_an_error(text):
    with pytest.raises(ValueError):  # noqa: PT011  the message is the parser's
        list(keys_in(text))


async def test_a_token_without_kid_requires_a_single_key(shared_database):
    keys = IssuerKeys(lambda: json.dumps({"keys": [jwk(RSA, "a"), jwk(OTHER_RSA, "b")]}).encode())

    assert await keys.find(None, "RS256") is None
    assert await keys.find("a", "RS256") is not None


async def test_the_authenticator_raises_for_an_invalid_token(shared_database):
    async with Directory(str(shared_database)) as directory:
        with pytest.raises(InvalidCredential):
            await Authenticator(production(shared_database))(http_scope(NONE["alg 'none', no signature"], directory))


ISSUER_SETTINGS = {"TANDEM_OIDC_ISSUER": ISSUER, "TANDEM_OIDC_AUDIENCE": "directory"}


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"TANDEM_OIDC_ISSUER": ISSUER}, "TANDEM_OIDC_AUDIENCE must be set with TANDEM_OIDC_ISSUER"),
        ({"TANDEM_JWKS_FILE": __file__}, "TANDEM_OIDC_ISSUER must be set with TANDEM_JWKS_FILE"),
        (
            {**ISSUER_SETTINGS, "TANDEM_JWKS_FILE": "/no/such/file"},
            "TANDEM_JWKS_FILE must be the path of a file, got '/no/such/file'",
        ),
        ({"TANDEM_OIDC_ISSUER": "http://login.example.com"}, "TANDEM_OIDC_ISSUER must be an https:// URL"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY must be a secret"),
    ],
)
def test_conflicting_settings_prevent_the_start(shared_database, settings, message):
    with pytest.raises(InvalidSetting) as error:
        production(shared_database, **settings)

    assert message in str(error.value)


@pytest.mark.slow
def test_tokens_are_verified_in_development(tmp_path):
    migrate(str(tmp_path / "t.db"))
    settings = production(tmp_path / "t.db", TANDEM_ENV="development")
    with TestClient(create_app(settings), base_url="http://example.com", client=("8.8.8.8", 1)) as http_client:
        assert http_client.get("/users").status_code == 403
        assert http_client.get("/users", headers=bearer(token(roles=["reader"]))).status_code == 200
        assert http_client.post("/users", json={}, headers=bearer(token(roles=["reader"]))).status_code in (403, 422)
        assert http_client.get("/users", headers=bearer(token(exp=1))).status_code == 401
