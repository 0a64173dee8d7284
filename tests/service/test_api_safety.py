"""Who may ask, how much, and for which files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from nuwa_search.service.api.ratelimit import RateLimit
from nuwa_search.service.cli.commands.serve import is_loopback, settings_from
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import Store, open_store
from tests.support.api_client import client_of

TOKEN = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(str(tmp_path_factory.mktemp("api") / "nuwa.sqlite")) as opened:
        yield opened


@pytest.fixture
def client(store: Store, tmp_path: Path) -> TestClient:
    return client_of(store, tmp_path)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example", "[::2]:8000"])
def test_other_host_names_are_refused(client: TestClient, host: str) -> None:
    response = client.get("/api/v1/devices", headers={"host": host})
    assert response.status_code == 400
    assert "--allow-host" in response.json()["hint"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "LOCALHOST"])
def test_own_host_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_pages_of_other_sites_may_not_act(client: TestClient) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999", "http://["):
        response = client.post("/api/v1/searches", json={"budget_ms": 5}, headers={"origin": origin})
        assert response.status_code == 403, origin
    own = client.delete("/api/v1/session", headers={"origin": "http://127.0.0.1:8000"})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


def test_bodies_are_json_and_small(client: TestClient) -> None:
    wrong = {"content-type": "text/plain"}
    assert client.post("/api/v1/searches", content='{"budget_ms": 5}', headers=wrong).status_code == 415
    right = {"content-type": "application/json"}
    assert client.post("/api/v1/searches", content="x" * 300_000, headers=right).status_code == 413
    chunks = (b"x" * 100_000 for _ in range(4))  # without a length
    late = client.post("/api/v1/searches", content=chunks, headers=right)
    assert late.status_code == 413
    assert late.headers["content-type"] == "application/problem+json"
    broken = client.post("/api/v1/searches", content='{"budget_ms": 5', headers=right)
    assert broken.status_code == 422


def test_answers_carry_safety_headers(client: TestClient) -> None:
    for path in ("/", "/web/js/app.js", "/api/v1/devices", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    assert client.get("/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/healthz", headers={"x-request-id": "not one"}).headers["x-request-id"] != "not one"


def test_token_is_wanted_everywhere_but_for_the_page(store: Store, tmp_path: Path) -> None:
    client = client_of(store, tmp_path, token=TOKEN, allowed_hosts=())
    for path in ("/api/v1/devices", "/api/v1/openapi.json", "/metrics", "/api/v1/searches"):
        response = client.get(path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/web/js/app.js", "/healthz", "/readyz"):
        assert client.get(path).status_code == 200, path
    for wrong in ("Bearer no", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"):
        assert client.get("/api/v1/devices", headers={b"authorization": wrong.encode("latin-1")}).status_code == 401
    assert client.get("/api/v1/devices", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/api/v1/devices", headers={"host": "board.lab", "authorization": f"bearer {TOKEN}"}).is_success


def test_browser_exchanges_the_token_for_a_cookie(store: Store, tmp_path: Path) -> None:
    client = client_of(store, tmp_path, token=TOKEN)
    assert client.get("/api/v1/session").json() == {"schema": "nuwa.session/1", "needs_token": True, "is_open": False}
    assert client.post("/api/v1/session", json={"token": "wrong"}).status_code == 401
    opened = client.post("/api/v1/session", json={"token": TOKEN})
    assert opened.json()["is_open"]
    cookie = opened.headers["set-cookie"].casefold()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/api/v1/devices").status_code == 200
    assert client.get("/api/v1/session").json()["is_open"]
    client.delete("/api/v1/session")
    assert client.get("/api/v1/devices").status_code == 401


def test_rate_is_limited_per_client(store: Store, tmp_path: Path) -> None:
    client = client_of(store, tmp_path, requests_per_s=0.01, burst=3)
    found = [client.get("/healthz") for _ in range(5)]
    assert [response.status_code for response in found] == [200, 200, 200, 429, 429]
    assert int(found[-1].headers["retry-after"]) > 1
    files = ("/", "/web/js/app.js")
    assert [client.get(path).status_code for path in files] == [200, 200], "a view takes dozens of its files"
    limit = RateLimit(per_s=2.0, burst=1)
    assert limit.wait_s("a", now_s=0.0) == 0.0
    assert limit.wait_s("a", now_s=0.0) == pytest.approx(0.5)
    assert limit.wait_s("b", now_s=0.0) == 0.0
    assert limit.wait_s("a", now_s=0.5) == 0.0


def test_paths_stay_in_the_roots(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "images" / "train").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    (tmp_path / "beside").mkdir()
    client = client_of(store, root)
    for path in ("../beside", str(tmp_path / "beside"), "out/beside", "out", "~", "/etc", "images/../../beside"):
        for field in ("base", "data", "output"):
            asked = {"budget_ms": 5, "base": "images", "data": "images", field: path}
            response = client.post("/api/v1/searches", json=asked)
            assert response.status_code == 422, (field, path)
            assert response.json()["errors"][0]["where"] == f"body.{field}"
    for name in ("hf-hub:timm/vit_tiny", "vit_tiny_patch16_224", "cifar100"):
        response = client.post("/api/v1/searches", json={"budget_ms": 5, "base": name, "data": "images"})
        assert response.status_code == 422
        assert "--hub" in response.json()["hint"]
    queued = client.post("/api/v1/searches", json={"budget_ms": 5, "base": "images", "data": str(root / "images")})
    assert queued.status_code == 202
    settings = queued.json()["settings"]
    assert settings["base"] == settings["data"] == str((root / "images").resolve())
    assert settings["bundle_dir"].startswith(str(root.resolve()))
    with_hub = client_of(store, root, is_hub_allowed=True)
    asked = {"budget_ms": 5, "base": "hf-hub:timm/vit_tiny", "data": "owner/images"}
    assert with_hub.post("/api/v1/searches", json=asked).status_code == 202


def test_bundle_outside_the_roots_is_not_served(store: Store, tmp_path: Path) -> None:
    from tests.support.store_values import record_basics, subnet

    record_basics(store)
    store.record_subnets([subnet(0)])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.onnx").write_text("secret")
    store.set_bundle("subnet-0", str(tmp_path / "elsewhere"))
    root = tmp_path / "root"
    root.mkdir()
    client = client_of(store, root)
    bundle = client.get("/api/v1/subnets/subnet-0").json()["bundle"]
    assert (bundle["is_served"], bundle["files"]) == (False, [])
    for path in ("bundle.zip", "files/model.onnx"):
        response = client.get(f"/api/v1/subnets/subnet-0/{path}")
        assert response.status_code == 409
        assert "secret" not in response.text


@pytest.mark.parametrize(
    ("host", "is_ours"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_loopback_addresses(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


def test_service_refuses_what_is_unsafe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(cli, ["serve", "--host", "0.0.0.0"], prog_name="nuwa") == 2
    assert "needs a token" in capsys.readouterr().err
    (tmp_path / "token").write_text("short")
    assert run(cli, ["serve", "--host", "0.0.0.0", "--token-file", "token"], prog_name="nuwa") == 2
    assert "at least 16" in capsys.readouterr().err
    assert run(cli, ["serve", "--root", "nowhere"], prog_name="nuwa") == 2
    assert "no folder" in capsys.readouterr().err
    monkeypatch.setenv("NUWA_TOKEN", TOKEN)
    settings = settings_from("0.0.0.0", (), None, (), is_hub_allowed=False)
    assert (settings.token, settings.allowed_hosts) == (TOKEN, ())
    assert settings.roots == ((tmp_path / "runs").resolve(),)


def test_without_the_extra_the_way_to_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nuwa_search.service.cli.commands import serve

    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "fastapi" else object())
    assert run(cli, ["serve"], prog_name="nuwa") == 2
    assert "nuwa-search[serve]" in capsys.readouterr().err
