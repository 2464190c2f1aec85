"""What the annotation server refuses: other people's images, bad bodies, paths that climb, other sites, no token."""

import logging

import pytest

from helpers.annotation import (
    RECTANGLE,
    Client,
    first_image,
    http_get,
    http_post,
    new_id,
    phantom_part,
    put_mark,
    served,
    signed_in,
    small_network,
)
from pellucid.annotator.gate import Gate
from pellucid.annotator.security import is_local
from pellucid.annotator.server import create_app
from pellucid.annotator.serving import make_gate
from pellucid.annotator.setup import ServiceOptions, open_service
from pellucid.types import InputError

pytestmark = pytest.mark.slow

TOKEN = "a token of enough characters"


@pytest.fixture(scope="module")
def dataset():
    return phantom_part()


@pytest.fixture(scope="module")
def network(dataset):
    return small_network(dataset)


@pytest.fixture
def service(dataset, network, tmp_path):
    options = ServiceOptions(rhos=(0.1,))  # the server makes explanations ahead, which nobody here looks at
    opened = open_service(dataset, network, tmp_path / "annotations.db", name="runs/first", options=options)
    yield opened
    opened.close()


@pytest.fixture
def address(service):
    with served(create_app(service, Gate(None))) as found:
        yield found


@pytest.fixture
def ann(address):
    with signed_in(address) as client:
        yield client


def test_other_peoples_images_and_marks(ann, address, caplog):
    with signed_in(address, "Bob") as bob:
        mine, theirs = first_image(ann)["id"], first_image(bob)["id"]
        mark = put_mark(ann, mine).json()["id"]
        caplog.set_level(logging.WARNING, "pellucid.annotator")
        refused = [
            bob.get(f"/api/images/{mine}"),
            bob.get(f"/api/images/{mine}/pixels.png"),
            bob.get(f"/api/images/{mine}/explanations/cam/0"),
            put_mark(bob, mine),
            bob.delete(f"/api/images/{mine}/marks/{mark}"),
            bob.put(f"/api/images/{mine}/note", json={"text": "x"}),
            bob.put(f"/api/images/{mine}/state", json={"state": "done"}),
        ]
        assert [r.status_code for r in refused] == [403] * 7
        assert put_mark(bob, theirs, mark).status_code == 409
        assert bob.delete(f"/api/images/{theirs}/marks/{mark}").status_code == 410
        assert [m["id"] for m in ann.get(f"/api/images/{mine}").json()["marks"]] == [mark]
    assert len([r for r in caplog.records if "refused with 403" in r.getMessage()]) == 7


def test_somebody_elses_mark_on_a_shared_image(dataset, network, tmp_path):
    service = open_service(dataset, network, tmp_path / "a.db", options=ServiceOptions(per_image=2, rhos=()))
    with (
        served(create_app(service, Gate(None))) as address,
        signed_in(address) as ann,
        signed_in(address, "Bob") as bob,
    ):
        image = first_image(ann)["id"]
        assert first_image(bob)["id"] == image
        mark = put_mark(ann, image).json()["id"]
        assert bob.delete(f"/api/images/{image}/marks/{mark}").status_code == 403
        assert len(ann.get(f"/api/images/{image}").json()["marks"]) == 1
    service.close()


def test_a_page_of_another_name_than_the_cookie(ann, address):
    image = first_image(ann)["id"]
    as_bob, as_ann = {"X-Annotator": "B%C3%B6b"}, {"X-Annotator": "Ann"}
    ann.headers.update(as_bob)
    assert [put_mark(ann, image).status_code, ann.get("/api/queue").status_code] == [401, 401]
    assert ann.get(f"/api/images/{image}/explanations/cam/0").status_code == 401
    ann.headers.update(as_ann)
    assert ann.get("/api/queue").json()["images"][0]["marks"] == []
    with signed_in(address, "Böb") as bob:
        assert bob.get("/api/queue", headers=as_bob).status_code == 200


@pytest.fixture(scope="module")
def unmarked(dataset, network, tmp_path_factory):
    """A client of a server that none of its tests gets to keep a mark."""
    store = tmp_path_factory.mktemp("unmarked") / "annotations.db"
    service = open_service(dataset, network, store, options=ServiceOptions(rhos=()))
    with served(create_app(service, Gate(None))) as address, signed_in(address) as client:
        yield client
    service.close()


def mark_of(shape, name=b'"Nodule"', kind=b'"relevant"'):
    """The body of a mark, as bytes: JSON that no encoder would write."""
    return b'{"class": ' + name + b', "kind": ' + kind + b', "shape": ' + shape + b"}"


def outline_of(points):
    return mark_of(b'{"type": "polygon", "points": [' + points + b"]}")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff\xff", 400),
        (b"[" * 100_000, 400),
        (b"[]", 400),
        (b"{}", 400),
        (mark_of(b'{"type": "circle"}'), 400),
        (mark_of(b"{}", name=b'"Dragon"'), 400),
        (mark_of(b"{}", name=b'["Nodule"]'), 400),
        (mark_of(b"{}", kind=b'"boring"'), 400),
        (mark_of(b'{}, "annotator": "Bob"'), 400),
        (mark_of(b'{"type": "rectangle", "x": 0, "y": 0, "width": 2, "height": 1}'), 400),
        (outline_of(b"[0,0],[1,1],[NaN,0]"), 400),
        (outline_of(b"[0,0],[1,1],[1e999,0]"), 400),
        (outline_of(b"[0,0]," * 20_000 + b"[1,1]"), 400),
        (outline_of(b"[0,0]," * 200_000 + b"[1,1]"), 413),
    ],
)
def test_bad_marks(unmarked, body, status):
    image = first_image(unmarked)["id"]
    answer = unmarked.put(
        f"/api/images/{image}/marks/{new_id()}", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status
    assert answer.json()["error"]
    assert unmarked.get(f"/api/images/{image}").json()["marks"] == []


def test_a_large_body_that_does_not_say_so(ann):
    image = first_image(ann)["id"]
    chunks = (b"x" * 65536 for _ in range(64))
    answer = ann.put(f"/api/images/{image}/note", content=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_bad_notes_verdicts_states_and_names(ann, address):
    at = f"/api/images/{first_image(ann)['id']}"
    json_kind = {"Content-Type": "application/json"}
    answers = [
        ann.put(f"{at}/note", json={"text": "x" * 10_001}),
        ann.put(f"{at}/note", content=b'{"text": "\\ud800"}', headers=json_kind),
        ann.put(f"{at}/note", json={"text": "a\0b"}),
        ann.put(f"{at}/note", json={"text": 1}),
        ann.put(f"{at}/verdicts/5", json={"present": "maybe"}),
        ann.put(f"{at}/verdicts/x", json={"present": "yes"}),
        ann.put(f"{at}/state", json={"state": "lost"}),
        ann.put(f"{at}/marks/1", json={"class": "Nodule", "kind": "relevant", "shape": RECTANGLE}),
        ann.get("/api/queue?count=1000"),
        ann.get(f"{at}/explanations/adversarial/0?rho=0.3"),
        ann.get(f"{at}/explanations/adversarial/0"),
        ann.get(f"{at}/explanations/cam/0?rho=0.1"),
        ann.post("/api/session", json={"annotator": "   "}),
        ann.post("/api/session", json={"annotator": "a\nb"}),
        ann.post("/api/session", json={"annotator": "x" * 81}),
    ]
    assert [a.status_code for a in answers] == [400] * len(answers)
    missing = [f"{at}/explanations/lime/0", f"{at}/explanations/cam/99", "/api/images/0000000000000000", "/api/x"]
    assert [ann.get(path).status_code for path in missing] == [404] * len(missing)
    assert ann.put(f"{at}/verdicts/99", json={"present": "yes"}).status_code == 404
    assert http_get(address + "/api/queue").status_code == 401  # nobody said who
    assert ann.put(f"{at}/note", content=b'{"text": "x"}', headers={"Content-Type": "text/plain"}).status_code == 415


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/%00",
        "/api/images/..%2f..%2fetc%2fpasswd",
    ],
)
def test_paths_do_not_climb(address, path):
    import socket

    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:  # a client library would tidy the path
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert int(answer.split()[1]) in (400, 401, 404)
    assert b"FastAPI" not in answer


def test_other_sites_are_kept_out(ann, address):
    at = f"/api/images/{first_image(ann)['id']}"
    rebound = http_get(address + "/api/about", headers={"Host": "evil.example"})
    assert rebound.status_code == 421
    for host in ("127.0.0.2:8000", "localhost", "[::1]:8000", "127.0.0.1"):
        assert http_get(address + "/api/about", headers={"Host": host}).status_code == 200
    for host in ("[", "[::1", "127.evil.example", ""):
        answer = http_get(address + "/api/about", headers={"Host": host})
        assert answer.status_code == 421
        assert "content-security-policy" in answer.headers
    origins = [{"Origin": origin} for origin in ("http://evil.example", "http://[", "null")]
    for headers in (*origins, {"Sec-Fetch-Site": "cross-site"}):
        assert ann.put(f"{at}/note", json={"text": "x"}, headers=headers).status_code == 403
        assert ann.delete(f"{at}/marks/{new_id()}", headers=headers).status_code == 403
    assert ann.put(f"{at}/note", json={"text": "x"}, headers={"Origin": address}).status_code == 200
    answer = ann.get("/api/about")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy  # no request to anywhere
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    cookie = ann.post("/api/session", json={"annotator": "Ann"}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_no_entry_without_the_token(service, caplog):
    gate = Gate(TOKEN)
    caplog.set_level(logging.INFO, "pellucid.annotator")
    with served(create_app(service, gate, local=False)) as address:

        def get(path, **headers):
            return http_get(address + path, headers=headers).status_code

        assert get("/api/about") == 401
        assert get("/api/about", Authorization="Bearer wrong") == 401
        assert get("/api/about", Authorization="Bearer ünï".encode()) == 401
        assert get("/api/about", Authorization=f"Bearer {TOKEN}") == 200
        assert get("/api/about", Host="hospital.example", Authorization=f"Bearer {TOKEN}") == 200
        assert http_post(address + "/api/session", json={"annotator": "Eve", "token": "wrong"}).status_code == 401
        code = gate.make_code()
        with Client(base_url=address) as client:
            assert client.get(f"/enter/{code}").status_code == 200
            client.post("/api/session", json={"annotator": "Ann"}).raise_for_status()
            assert client.get("/api/queue").status_code == 200
        assert get(f"/enter/{code}") == 401  # it works once
        with Client(base_url=address) as client:
            client.post("/api/session", json={"annotator": "Bob", "token": TOKEN}).raise_for_status()
            assert client.get("/api/queue").status_code == 200
    told = "\n".join(r.getMessage() for r in caplog.records)
    assert "refused with 401" in told
    assert TOKEN not in told
    assert code not in told


def test_a_token_where_one_is_needed():
    assert is_local("127.0.0.1")
    assert is_local("::1")
    assert not is_local("0.0.0.0")
    assert not is_local("hospital.example")
    assert make_gate("127.0.0.1", None)[0].token is None
    made = make_gate("0.0.0.0", None)[0].token
    assert made is not None
    assert len(made) >= 32
    assert make_gate("0.0.0.0", None)[0].token != made
    for bad in ("short", "a token with an umlaut: ä", "a token with a\nline break"):
        with pytest.raises(InputError, match="at least 16"):
            make_gate("0.0.0.0", bad)


def test_the_command_says_what_is_wrong(finished, phantom, tmp_path, pellucid):
    short = tmp_path / "token"
    short.write_text("short\n")
    where = ["--data", "phantom", "--no-open", "--port", "0", "--store", tmp_path / "a.db"]
    for more, told in (
        (["--order", "uncertain"], "Did you mean 'uncertainty'"),
        (["--order", "disagreement"], "--compare"),
        (["--rhos", "0.1,x"], "--rhos '0.1,x': expected numbers separated by commas"),
        (["--rhos", "0"], "rho must be above 0"),
        (["--split", "tests"], "no 'tests' part"),
        (["--host", "0.0.0.0", "--token", "long enough, but seen by all"], "list of processes"),
        (["--token-file", tmp_path / "none"], "cannot be read: No such file"),
        (["--token-file", short], "at least 16"),
        (["--host", "no.such.host.invalid"], "cannot listen"),
    ):
        assert told in str(pellucid("annotate", "serve", finished.path, *where, *more)[0])
