"""Who may speak under which name at the annotation server: the first browser, and whoever is invited."""

from datetime import UTC, datetime, timedelta

import pytest

from helpers.annotation import (
    Client,
    first_image,
    http_get,
    http_post,
    invited,
    phantom_part,
    put_mark,
    served,
    signed_in,
    small_network,
)
from helpers.annotation_store import DATA, A
from helpers.axe import violations
from pellucid.annotations import people as annotation_people
from pellucid.annotations.people import InvitationError, NameTakenError, accept, invite, sessions, sign_in
from pellucid.annotations.records import Visit
from pellucid.annotations.reservations import reserve
from pellucid.annotations.store import open_store
from pellucid.annotator.gate import Gate
from pellucid.annotator.server import create_app
from pellucid.annotator.sessions import HIT_SECONDS, Sessions, new_secret
from pellucid.annotator.setup import ServiceOptions, open_service
from pellucid.types import InputError

TOKEN = "a token of enough characters"


@pytest.fixture(scope="module")
def dataset():
    return phantom_part()


@pytest.fixture(scope="module")
def network(dataset):
    return small_network(dataset)


@pytest.fixture
def service(dataset, network, tmp_path):
    options = ServiceOptions(rhos=(), order="random", per_image=2)
    opened = open_service(dataset, network, tmp_path / "annotations.db", options=options)
    yield opened
    opened.close()


@pytest.fixture
def store(source):
    with open_store(source, create=DATA) as opened:
        yield opened


@pytest.mark.parametrize("token", [None, TOKEN])
def test_nobody_signs_in_under_anothers_name_or_undoes_their_marks(service, token):
    said = {"token": token} if token else {}
    with served(create_app(service, Gate(token))) as address:
        ann, eve = Client(base_url=address), Client(base_url=address)
        with ann, eve:
            ann.post("/api/session", json={"annotator": "Ann", **said}).raise_for_status()
            image = first_image(ann)["id"]
            mark = put_mark(ann, image).json()["id"]
            for name in ("Ann", " ann ", "ANN", "Ａｎｎ", "Ann"):
                answer = eve.post("/api/session", json={"annotator": name, **said})
                assert answer.status_code == 409
                assert "invitation" in answer.json()["error"]
            eve.cookies.set("pellucid_annotator", "Ann")  # which said the name before there were sessions
            assert eve.get("/api/queue").status_code == 401
            eve.post("/api/session", json={"annotator": "Eve", **said}).raise_for_status()
            assert first_image(eve)["id"] == image
            assert eve.delete(f"/api/images/{image}/marks/{mark}").status_code == 403
            assert [m["id"] for m in ann.get(f"/api/images/{image}").json()["marks"]] == [mark]
            assert ann.post("/api/session", json={"annotator": "ann"}).json()["annotator"] == "Ann"  # one's own


def test_an_invitation_lets_in_one_browser_without_the_token(service):
    with served(create_app(service, Gate(TOKEN), local=False)) as address:
        code = invite(service.store, "Dr Ayşe Kaya")
        with Client(base_url=address) as ayse, Client(base_url=address) as other:
            for client in (other, other, ayse):  # mail programs look at links: that accepts nothing
                page = client.get(f"/invite/{code}")
                assert page.status_code == 200
                assert "Dr Ayşe Kaya" in page.text
            for _ in range(2):  # as when the first answer is lost
                answer = ayse.post("/api/session", json={"invitation": code})
                assert answer.json()["annotator"] == "Dr Ayşe Kaya"
            assert first_image(ayse)["state"] == "offered"
            assert ayse.get(f"/invite/{code}").status_code == 200
            for answer in (other.get(f"/invite/{code}"), other.post("/api/session", json={"invitation": code})):
                assert answer.status_code == 403
                assert "another browser" in answer.text
            assert other.get("/api/queue").status_code == 401
            both = {"invitation": code, "annotator": "Ayşe"}
            assert [other.post("/api/session", json=body).status_code for body in (both, {})] == [400, 400]
    with served(create_app(service, Gate("another token of this server"), local=False)) as address:
        about = http_get(f"{address}/api/about", cookies=dict(ayse.cookies))
        assert about.json()["annotator"] == "Dr Ayşe Kaya"  # she never needed the token


@pytest.mark.browser
def test_axe_finds_nothing_on_the_pages_by_which_people_come_in(service, browser):
    with served(create_app(service, Gate(TOKEN), local=False)) as address:
        code = invite(service.store, "Dr Ayşe Kaya")
        texts = {"/": "Whoever runs the server", f"/invite/{code}": "Dr Ayşe Kaya", "/invite/none": "invitation"}
        for path, text in texts.items():
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
                page.goto(address + path)
                assert text in page.locator("main").inner_text()
                assert page.evaluate("document.documentElement.scrollWidth") <= 390
                assert violations(page, scheme) == []
                page.close()


def test_with_another_token_those_with_the_old_one_are_asked_again(service):
    with served(create_app(service, Gate(TOKEN))) as address, Client(base_url=address) as ann:
        ann.post("/api/session", json={"annotator": "Ann", "token": TOKEN}).raise_for_status()
    second = "another token of this server"
    with served(create_app(service, Gate(second))) as address:
        later = Client(base_url=address, cookies=dict(ann.cookies))
        with later:
            assert later.get("/api/about").status_code == 401
            assert later.post("/api/session", json={"annotator": "Ann", "token": TOKEN}).status_code == 401
            later.post("/api/session", json={"annotator": "Ann", "token": second}).raise_for_status()
            assert later.get("/api/about").json()["annotator"] == "Ann"


def test_a_name_belongs_to_its_first_session(store):
    ann, bob = new_secret(), new_secret()
    assert sign_in(store, " Ann ", ann) == "Ann"
    assert sign_in(store, "Ann", ann) == "Ann"
    with pytest.raises(NameTakenError):
        sign_in(store, "ann", bob)
    with pytest.raises(InputError, match="printable"):
        sign_in(store, "Ann\u200b", bob)
    assert sign_in(store, "Bob", bob) == "Bob"
    assert {s.annotator for s in sessions(store).values()} == {"Ann", "Bob"}


def test_invitations_are_accepted_once_replaced_and_too_old(store, monkeypatch):
    first, ann, eve = invite(store, "Ann"), new_secret(), new_secret()
    second = invite(store, "ann")  # the same person
    with pytest.raises(InvitationError, match="newer one took its place"):
        accept(store, first, ann)
    with pytest.raises(NameTakenError):
        sign_in(store, "Ann", eve)  # invited, though not yet here
    assert accept(store, second, ann) == accept(store, second, ann) == "Ann"
    with pytest.raises(InvitationError, match="another browser"):
        accept(store, second, eve)
    tablet = new_secret()
    assert accept(store, invite(store, "Ann"), tablet) == "Ann"
    assert len(sessions(store)) == 2
    late = invite(store, "Ann", sign_out=True)
    assert sessions(store) == {}
    with pytest.raises(InvitationError, match="another browser"):
        accept(store, second, ann)  # a lost laptop does not come back by its old link
    monkeypatch.setattr(annotation_people, "VALID", timedelta(0))
    with pytest.raises(InvitationError, match="older than"):
        accept(store, late, ann)


def test_secrets_are_not_in_the_database(tmp_path):
    secret = new_secret()
    with open_store(tmp_path / "a.db", create=DATA) as store:
        gate = Gate(TOKEN)
        Sessions(store, gate).sign_in("Ann", secret)
        code = invite(store, "Bob")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for word in (secret, code, TOKEN):
        assert word.encode() not in content


def test_who_was_signed_out_by_another_process_is_out_after_a_while(store):
    now, secret = [0.0], new_secret()
    known = Sessions(store, Gate(None), lambda: now[0])
    known.sign_in("Ann", secret)
    invite(store, "Ann", sign_out=True)
    assert not known.is_old(secret)
    now[0] += HIT_SECONDS + 0.1
    assert known.is_old(secret)
    known.renew()
    assert known.visitor(secret).annotator is None


def test_links_for_a_department(tmp_path, pellucid):
    where = ["--store", tmp_path / "a.db", "--address", "https://annotate.hospital.example/"]
    assert "no annotation database" in str(pellucid("annotate", "invite", "Ann", *where)[0])
    open_store(tmp_path / "a.db", create=DATA).close()
    status, said, _ = pellucid("annotate", "invite", "Ann", "Dr Bob", *where)
    assert status == 0
    rows = [line.split("\t") for line in said.splitlines()]
    assert [name for name, _ in rows] == ["Ann", "Dr Bob"]
    with open_store(tmp_path / "a.db") as store:
        for name, link in rows:
            head, code = link.rsplit("/", 1)
            assert head == "https://annotate.hospital.example/invite"
            assert accept(store, code, new_secret()) == name
        before = len(sessions(store))
        assert "printable" in str(pellucid("annotate", "invite", "Cid", "a\nb", *where)[0])
        assert "--address" in str(pellucid("annotate", "invite", "Cid", *where[:2], "--address", "hospital")[0])
        assert len(sessions(store)) == before


# what invented names may hold


@pytest.mark.slow
def test_one_session_holds_images_under_one_name_alone(service):
    with served(create_app(service, Gate(None))) as address, Client(base_url=address) as eve:
        for number in range(40):
            eve.post("/api/session", json={"annotator": f"Eve {number}"}).raise_for_status()
            assert len(eve.get("/api/queue?count=10").json()["images"]) == 10
        held = [visit for visit in service.store.visits() if visit.state == "offered"]
        assert {visit.annotator for visit in held} == {"Eve 39"}
        with signed_in(address) as ann:
            assert len(ann.get("/api/queue?count=10").json()["images"]) == 10


def test_invented_names_keep_no_image_from_those_who_work_or_were_invited(store):
    images, now = DATA.ids[:6], datetime.now(UTC)
    sign_in(store, "Worker", new_secret())
    assert reserve(store, "Worker", images, count=1, now=now) == [images[0]]
    store.put_visit(Visit(images[0], "done", "Worker"))
    accept(store, invite(store, "Guest"), new_secret())
    for number in range(40):
        sign_in(store, f"Eve {number}", new_secret())
        reserve(store, f"Eve {number}", images, count=10, now=now)
    newcomer = reserve(store, "Newcomer", images, count=3, now=now)
    assert newcomer == []
    worker, guest = (reserve(store, who, images, count=3, now=now) for who in ("Worker", "Guest"))
    assert len(worker) == len(guest) == 1
    assert not set(worker) & set(guest)
    assert reserve(store, "Worker", images, count=3, now=now) == worker  # and they hold what they got
    assert [store.state(image, "Eve 0") for image in (*worker, *guest)] == ["lapsed", "lapsed"]


def test_who_only_asks_and_never_does_anything_does_not_keep_an_image(store):
    now, minute = datetime.now(UTC), timedelta(minutes=1)
    assert reserve(store, "Eve", [A], now=now) == [A]
    assert reserve(store, "Newcomer", [A], now=now + minute) == []
    assert reserve(store, "Eve", [A], now=now + 2 * minute) == [A]  # asking again is no work
    assert reserve(store, "Newcomer", [A], now=now + 4 * minute) == [A]
    assert reserve(store, "Eve", [A], now=now + 4 * minute) == []


def test_the_name_of_another_browser_needs_an_invitation_after_a_restart(service):
    with served(create_app(service, Gate(None))) as address, signed_in(address) as ann:
        image = first_image(ann)["id"]
    with served(create_app(service, Gate(None))) as address:
        assert http_post(f"{address}/api/session", json={"annotator": "Ann"}).status_code == 409
        with invited(address, service) as ann:
            assert first_image(ann)["id"] == image
