"""The page in a real browser, over a small seeded database."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright")

from playwright.sync_api import Browser, Page, Route, expect

from nuwa_search.core.proportion import wilson_interval
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.store import open_store
from nuwa_search.store.wanted import SubnetFilter
from tests.support import page_collaboration as boards
from tests.support.browser import open_browser, watched_page
from tests.support.page_server import PageServer, serve_page
from tests.support.page_store import BASE_TOP1, BUDGET_MS, STUDY, VEHICLES, Seeded, seed_page_store
from tests.support.played_worker import TRIALS, play_search
from tests.support.store_values import NANO

pytestmark = pytest.mark.browser
ROUTES = (
    *("front", "devices", "devices/jetson-nano", "bundles", "searches", "searches/new", f"searches/{STUDY}"),
    *("collaborations", f"collaborations/{boards.STUDY}"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from open_browser()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def seeded(folder: Path) -> Seeded:
    with open_store(str(folder / "nuwa.sqlite")) as store:
        return seed_page_store(store, folder / "bundles")


@pytest.fixture(scope="module")
def server(folder: Path, seeded: Seeded) -> Iterator[PageServer]:
    with serve_page(folder / "nuwa.sqlite", roots=[folder / "bundles"]) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: PageServer) -> Iterator[Page]:
    with watched_page(browser, server.url) as opened:
        yield opened


BLANK = '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="96"/>'


def go(page: Page, route: str) -> None:
    """Open a route and wait for its title."""
    page.goto(f"/#/{route}")
    expect(page.locator("main h1")).to_be_visible()


def best_of(folder: Path, budget_ms: float) -> str:
    """Brute force: the accuracy of the most accurate subnet of the vehicles within a budget, as the page writes it."""
    with open_store(str(folder / "nuwa.sqlite")) as store:
        rows = store.subnets.find(SubnetFilter("jetson-nano", max_ms=budget_ms, classes=VEHICLES.classes))
    return f"{100 * max(row['top1'] for row in rows if row['top1'] is not None):.1f}\u00a0%"


def budget_of(page: Page) -> float:
    return float(page.get_by_role("slider").get_attribute("aria-valuenow") or "nan")


def test_front_shows_points_stars_and_what_the_budget_buys(page: Page, folder: Path, seeded: Seeded) -> None:
    go(page, f"front?task={VEHICLES.task_id}&budget={BUDGET_MS}")
    with open_store(str(folder / "nuwa.sqlite")) as store:
        front = store.subnets.find(SubnetFilter("jetson-nano", classes=VEHICLES.classes), pareto=True)
    expect(page.locator(".front-link")).to_have_count(len(front))
    expect(page.locator(".front-link .is-run")).to_have_count(2)  # what was run is filled, the rest hollow
    expect(page.locator(".chart-host .mark-star")).to_have_count(1)
    expect(page.locator(".infeasible")).to_be_visible()
    expect(page.get_by_test_id("readout")).to_contain_text(f"{100 * seeded.winner_top1:.1f}\u00a0%")
    low, high = wilson_interval(round(250 * BASE_TOP1), 250)
    interval = f"({100 * low:.1f}–{100 * high:.1f}, 250 images)"
    expect(page.get_by_test_id("readout")).to_contain_text(
        f"base: {100 * BASE_TOP1:.1f}\u00a0% {interval} on the test split"
    )
    assert page.locator(".error-bar").count() > 1  # of the front's points, and of the base
    expect(page.get_by_test_id("readout").locator(".command code")).to_contain_text("nuwa derive --subnet ")
    rows = page.locator("tr.is-front")
    assert rows.count() > 0
    expect(rows.get_by_role("button", name="copy command")).to_have_count(rows.count())
    expect(page.locator(".legend")).to_contain_text("hollow: predicted (emulated)")
    expect(page.locator(".table tbody tr").first.locator("td").nth(1)).to_have_text(re.compile("test"))


def test_dragging_the_budget_changes_read_out_and_address(page: Page, folder: Path) -> None:
    go(page, f"front?task={VEHICLES.task_id}&budget={BUDGET_MS}")
    knob = page.locator(".budget-knob").bounding_box()
    assert knob is not None
    page.mouse.move(knob["x"] + knob["width"] / 2, knob["y"] + 8)
    page.mouse.down()
    page.mouse.move(knob["x"] - 60, knob["y"] + 60, steps=4)
    page.mouse.up()
    dragged = budget_of(page)
    assert dragged < BUDGET_MS
    expect(page.get_by_test_id("readout").locator(".readout-value")).to_have_text(best_of(folder, dragged))
    page.wait_for_url(re.compile(rf"budget={dragged:g}(&|$)"))
    page.get_by_role("slider").press("Shift+ArrowRight")
    moved = budget_of(page)
    assert moved > dragged
    expect(page.get_by_test_id("readout").locator(".readout-value")).to_have_text(best_of(folder, moved))
    page.get_by_label("Best under", exact=True).fill("4.2")
    page.get_by_label("Best under", exact=True).press("Enter")
    assert budget_of(page) == 4.2
    expect(page.get_by_test_id("readout").locator(".readout-value")).to_have_text(best_of(folder, 4.2))


def test_filters_are_in_the_address_and_survive_a_reload(page: Page) -> None:
    go(page, f"front?task={VEHICLES.task_id}")
    page.get_by_label("table: within the budget only").check()
    page.get_by_label("top1 at least").fill("60")
    page.get_by_label("top1 at least").press("Enter")
    page.get_by_role("button", name="latency, ms").click()
    page.wait_for_url(re.compile("sort=latency"))
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("latency")
    first = page.locator(".table tbody tr").first.inner_text()
    page.reload()
    expect(page.get_by_label("table: within the budget only")).to_be_checked()
    expect(page.get_by_label("top1 at least")).to_have_value("60")
    expect(page.locator("th[aria-sort=ascending]")).to_contain_text("latency")
    assert page.locator(".table tbody tr").first.inner_text() == first
    shares = [float(t.split("\u00a0")[0]) for t in page.locator(".table tbody tr td:nth-child(2)").all_inner_texts()]
    assert shares
    assert min(shares) >= 60
    page.get_by_label("task").select_option(index=1)  # the other task has no subnet that was run
    expect(page.locator(".front-link .is-run")).to_have_count(0)
    page.wait_for_url(re.compile("task=task-0|task=task-1"))


def test_table_and_chart_point_at_the_same_subnet(page: Page, seeded: Seeded) -> None:
    go(page, f"front?task={VEHICLES.task_id}")
    page.locator(f"tr[data-subnet={seeded.winner_id}]").hover()
    expect(page.locator(".tip")).to_contain_text(f"{seeded.winner_ms:.2f}\u00a0ms emulated")
    page.mouse.move(0, 0)
    expect(page.locator(".tip")).to_be_hidden()
    page.locator(".front-link .is-run").first.hover()
    expect(page.locator(f"tr[data-subnet={seeded.winner_id}]")).to_have_class(re.compile("is-linked"))
    page.locator(".front-link .is-run").first.click()
    expect(page.locator("main h1")).to_contain_text("Subnet")


def test_a_small_model_is_the_second_star(page: Page, seeded: Seeded) -> None:
    small = {"kind": "small_model", "subnet_id": seeded.winner_id, "latency_ms": 4.5, "top1": 0.8, "split": "test"}

    def add_small_model(route: Route) -> None:
        answer = route.fetch().json()
        route.fulfill(json=answer | {"rows": [*answer["rows"], small | {"provenance": "emulated", "params": 1}]})

    page.route("**/api/v1/bases?*", add_small_model)
    go(page, f"front?task={VEHICLES.task_id}")
    expect(page.locator(".chart-host .mark-star")).to_have_count(2)
    expect(page.locator(".star-name")).to_have_text(["base", "small model"])
    expect(page.locator(".legend")).to_contain_text("small model, test split")


def test_images_with_masks_are_compared_class_by_class(page: Page, seeded: Seeded) -> None:
    def answer_for_pixels(route: Route) -> None:
        answer = route.fetch().json()
        route.fulfill(json=answer | {"result": answer["result"] | {"metric": "miou"}})

    row = {"number": 0, "image": "7.jpg", "classes": ["background", "crack"], "miou_base": 0.75, "miou": 0.5}
    newer = row | {"iou_base": {"background": 1, "crack": 0.5}, "iou": {"background": 1, "crack": 0}}
    colours = {"background": "#000000", "crack": "#ff2626"}
    page.route(f"**/api/v1/searches/{STUDY}", answer_for_pixels)
    page.route("**/compared", lambda route: route.fulfill(json={"images": [newer, row], "colours": colours}))
    page.route("**/compared/*.png", lambda route: route.fulfill(content_type="image/svg+xml", body=BLANK))
    go(page, f"subnets/{seeded.winner_id}")
    expect(page.locator(".compared-legend li")).to_have_text(["crack"])
    assert (
        page.locator(".compared-swatch").evaluate("node => getComputedStyle(node).backgroundColor")
        == "rgb(255, 38, 38)"
    )
    strips = page.locator(".compared li")
    expect(strips.first.locator(".compared-heads span")).to_have_text(["image", "truth", "base", "winner"])
    expect(strips.first).to_contain_text(re.compile("crack IoU 50.% base, 0.% winner"))
    expect(strips.last).to_contain_text(re.compile("background, crack mIoU 75.% base, 50.% winner"))


def test_one_slow_subnet_does_not_press_the_others_together(page: Page) -> None:
    def add_slow(route: Route) -> None:
        answer = route.fetch().json()
        slow = answer["rows"][0] | {"subnet_id": "slow", "predicted_latency_ms": 3000.0, "measured_latency_ms": None}
        route.fulfill(json=answer | {"rows": [*answer["rows"], slow | {"top1": 0.95}]})

    page.route("**/api/v1/subnets?*", add_slow)
    go(page, f"front?task={VEHICLES.task_id}")
    expect(page.locator(".chart-host .beyond")).to_contain_text("3000\u00a0ms →")
    ticks = page.locator(".chart-host .axes text[text-anchor=middle]").all_text_contents()
    assert max(float(text) for text in ticks) < 20, "the axis is that of the others"
    expect(page.locator(".legend")).to_contain_text("arrow: one beyond the axis")
    page.locator(".front-link[aria-label*='3000']").hover()
    expect(page.locator(".tip")).to_contain_text("3000\u00a0ms predicted")


def test_every_device_of_a_search_is_shown_with_its_budget(page: Page, folder: Path) -> None:
    with open_store(str(folder / "nuwa.sqlite")) as store:
        more = {"budget_ms": 5.0, "device": "jetson-nano", "base": "default", "more_budgets": ["2.5@jetson-orin-nano"]}
        terms = SearchTerms(NANO.device_id, 5.0, settings=more)
        store.finish_search(store.start_search("two-boards", terms), "interrupted")
    go(page, "searches")
    row = page.get_by_role("row", name=re.compile("^two-boards"))
    expect(row.get_by_role("cell").nth(1)).to_have_text("5.002.50")  # one below the other
    expect(row.get_by_role("link", name="jetson-orin-nano")).to_be_visible()
    page.get_by_role("link", name="two-boards").click()
    expect(page.locator(".figure", has_text="jetson-orin-nano")).to_contain_text("2.50\u00a0ms")


def test_subnet_says_what_was_kept_proven_and_is_missing(page: Page, seeded: Seeded) -> None:
    go(page, f"subnets/{seeded.winner_id}")
    expect(page.locator(".block")).to_have_count(12)
    expect(page.locator(".block.is-gone")).to_have_count(2)
    expect(page.locator(".badge-verdict")).to_have_text("met (emulated)")
    for text in ("predicted interval", "board interval", "latency emulated"):
        expect(page.get_by_text(text, exact=True)).to_be_visible()
    scores = page.get_by_role("region", name="Accuracy by class", exact=True)
    tram = scores.get_by_role("region", name=re.compile("^Recall")).get_by_role("row", name=re.compile("^tram 83"))
    low, high = wilson_interval(63, 83)
    expect(tram).to_contain_text(f"{100 * 63 / 83:.1f}\u00a0% ({100 * low:.1f}–{100 * high:.1f})")
    expect(tram).to_contain_text(f"{100 * 69 / 83:.1f}\u00a0%")  # of the base
    taken = scores.get_by_role("region", name=re.compile("^Confusion")).get_by_role("row", name=re.compile("^tram"))
    expect(taken.get_by_role("cell")).to_have_text(["8", "12", "63"])
    missing = page.locator(".files li", has_text=re.compile(r"^\s*model\.onnx"))
    expect(missing).to_contain_text("missing")
    expect(missing.locator("a")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("link", name="download the bundle").click()
    assert download.value.suggested_filename.endswith(".zip")
    page.get_by_text("the same in numbers").click()
    expect(page.get_by_role("row", name=re.compile("^1 6 of 6"))).to_be_visible()
    go(page, f"subnets/{seeded.lost_id}")
    expect(page.get_by_text("The folder is missing")).to_be_visible()
    expect(page.locator(".badge-verdict")).to_have_text("missed (emulated)")


def test_boards_together_are_listed_and_shown_beside_one_alone(page: Page, seeded: Seeded) -> None:
    go(page, "front")
    page.get_by_role("navigation", name="Views").get_by_role("link", name="Boards").click()
    row = page.get_by_role("row", name=re.compile(f"^{boards.STUDY}"))
    expect(row).to_contain_text("2 × jetson-nano, jetson-orin-nano")
    low, high = (100 * end for end in wilson_interval(round(boards.NUM_IMAGES * boards.FUSED_TOP1), boards.NUM_IMAGES))
    expect(row).to_contain_text(f"{100 * boards.FUSED_TOP1:.1f}\u00a0% ({low:.1f}–{high:.1f})")
    expect(row).to_contain_text("all boards")
    row.get_by_role("link", name=boards.STUDY).click()
    expect(page.locator("main h1")).to_have_text(boards.STUDY)
    expect(page.locator("main")).to_contain_text("3 boards are shipped: +4.8 points")
    modes = page.get_by_role("region", name="Ways to use the boards", exact=True)
    expect(modes.get_by_role("row", name=re.compile("^route"))).to_contain_text("part-3 is asked first")
    parts = page.get_by_role("region", name="Sub-models", exact=True)
    expect(parts.get_by_role("row", name=re.compile("^part-3 orin"))).to_contain_text("5.20")
    alone = page.get_by_role("region", name="One board alone", exact=True)
    expect(alone).to_contain_text("+4.8\u00a0points (+1.2 to +8.4, 95 %)")
    expect(page.locator(".command code").first).to_contain_text("'/srv/runs/three boards'")
    parts.get_by_role("row", name=re.compile("^part-1")).get_by_role("link", name=seeded.winner_id[:8]).click()
    expect(page.locator("main h1")).to_contain_text("Subnet")
    go(page, "collaborations?device=jetson-tx2")
    expect(page.get_by_text("No decomposition has jetson-tx2 among its boards.")).to_be_visible()


def test_device_has_table_map_and_report_card(page: Page) -> None:
    go(page, "devices/jetson-nano")
    expect(page.locator(".cell")).to_have_count(12)
    expect(page.get_by_role("row", name=re.compile("this predictor 0.50"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("baseline: MACs 28.0"))).to_be_visible()
    go(page, "devices/jetson-tx2")
    expect(page.get_by_text("nuwa profile jetson-tx2").first).to_be_visible()


def test_all_can_be_done_with_the_keyboard(page: Page) -> None:
    go(page, f"front?task={VEHICLES.task_id}")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    seen = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.getAttribute('role') || document.activeElement.tagName"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or page.evaluate("document.activeElement.matches('.budget, .front-link')")
    assert {"slider", "SELECT", "INPUT", "a"} <= seen
    point = page.locator(".front-link[tabindex='0']")
    point.focus()
    point.press("ArrowRight")
    second = page.locator(".front-link").nth(1)
    expect(second).to_be_focused()
    expect(page.locator(".tip")).to_be_visible()
    second.press("Enter")
    expect(page.locator("main h1")).to_be_focused()
    expect(page.locator("main h1")).to_contain_text("Subnet")


def test_theme_follows_the_system_and_the_switch(browser: Browser, server: PageServer) -> None:
    def ground(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    with watched_page(browser, server.url, color_scheme="dark") as page:
        go(page, "searches")
        dark = ground(page)
        page.get_by_role("button", name=re.compile("theme")).click()  # from the system's to light
        light = ground(page)
        assert dark != light
        page.reload()
        expect(page.locator("main h1")).to_be_visible()
        assert ground(page) == light
    with watched_page(browser, server.url, color_scheme="light") as page:
        go(page, "searches")
        assert ground(page) == light


def test_nothing_overflows_at_360_pixels(browser: Browser, server: PageServer, seeded: Seeded) -> None:
    with watched_page(browser, server.url, width=360, height=740) as page:
        for route in (*ROUTES, f"subnets/{seeded.winner_id}"):
            go(page, route)
            page.wait_for_timeout(50)  # charts are drawn once they know their width
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, route
        page.set_viewport_size({"width": 430, "height": 740})  # the widest of which the name had no room in the bar
        assert page.evaluate("document.documentElement.scrollWidth") <= 430


def test_what_is_not_there_is_said_with_what_helps(page: Page) -> None:
    page.goto("/#/subnets/nothing")
    expect(page.get_by_role("alert")).to_contain_text("nothing")
    expect(page.get_by_role("alert")).to_contain_text("hint:")


def test_search_is_started_and_followed_over_a_restart_of_the_server(
    page: Page, server: PageServer, folder: Path, seeded: Seeded
) -> None:
    def restart() -> None:
        server.stop()
        server.start()

    go(page, "searches/new")
    expect(page.get_by_text("No worker is running")).to_be_visible()
    page.get_by_role("button", name="start the search").click()
    expect(page.locator("#f-budget_ms-error")).not_to_be_empty()
    expect(page.get_by_label("latency budget")).to_be_focused()
    page.get_by_label("latency budget").fill("4.5")
    page.get_by_label("base").fill("../outside")
    page.get_by_role("button", name="start the search").click()
    expect(page.locator("#f-base-error")).not_to_be_empty()  # the server's words, at the field
    expect(page.get_by_role("alert").filter(has_text="hint:")).to_be_visible()
    page.get_by_label("base").fill("default")
    page.get_by_text("more settings").click()
    page.get_by_label("name").fill("from-page")
    with open_store(str(folder / "nuwa.sqlite")) as store:
        page.get_by_role("button", name="start the search").click()
        expect(page.locator("main h1")).to_have_text("from-page")
        expect(page.get_by_text("It waits for a worker")).to_be_visible()
        expect(page.get_by_role("button", name="cancel")).to_be_visible()
        worker = threading.Thread(target=lambda: play_search(store, answer=seeded.answer, halfway=restart), daemon=True)
        worker.start()
        expect(page.get_by_role("heading", name="Result")).to_be_visible()
        worker.join(timeout=10)
    expect(page.locator(".badge-verdict")).to_have_text("met (emulated)")
    expect(page.get_by_text(f"{TRIALS} of {TRIALS}", exact=True)).to_be_visible()
    steps = page.locator(".steps li")
    expect(steps.last).to_contain_text("queued")
    expect(steps.first).to_contain_text("done")
    expect(steps.filter(has_text="winner measured: 4.40 ms")).to_have_count(1)
    expect(page.get_by_role("heading", name="Fine-tuning")).to_be_visible()
    page.get_by_role("link", name="open the winner").click()
    expect(page.locator("main h1")).to_contain_text("Subnet")


def test_search_is_cancelled_and_resumed(page: Page) -> None:
    go(page, "searches/new?budget_ms=4.5&study=to-cancel")
    page.get_by_role("button", name="start the search").click()
    expect(page.locator("main h1")).to_have_text("to-cancel")
    state = page.locator(".head .badge")
    expect(state).to_have_text("queued")
    page.get_by_role("button", name="cancel").click()
    expect(state).to_have_text("interrupted")
    page.get_by_role("button", name="resume").click()
    expect(state).to_have_text("queued")
    page.get_by_role("button", name="cancel").click()
    expect(state).to_have_text("interrupted")


def test_token_is_asked_for_once(browser: Browser, folder: Path, seeded: Seeded) -> None:
    with (
        serve_page(folder / "nuwa.sqlite", roots=[folder / "bundles"], token="open sesame") as server,
        watched_page(browser, server.url) as page,
    ):
        go(page, "searches")
        expect(page.locator("main h1")).to_have_text("Token")
        page.get_by_label("This service wants a token").fill("wrong")
        page.get_by_role("button", name="open").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("This service wants a token").fill("open sesame")
        page.get_by_role("button", name="open").click()
        expect(page.locator("main h1")).to_have_text("Searches")
        go(page, f"subnets/{seeded.winner_id}")
        with page.expect_download():
            page.get_by_role("link", name="download the bundle").click()


def test_empty_database_says_which_command_fills_it(browser: Browser, tmp_path: Path) -> None:
    with serve_page(tmp_path / "empty.sqlite", roots=[tmp_path]) as server, watched_page(browser, server.url) as page:
        go(page, "front")
        expect(page.get_by_text("nuwa-search --budget-ms 30")).to_be_visible()
        go(page, "searches")
        expect(page.get_by_text("nuwa-search --budget-ms 30")).to_be_visible()
        go(page, "devices")
        expect(page.get_by_role("link", name="jetson-nano", exact=True)).to_be_visible()


def test_two_subnets_are_picked_and_compared_at_an_address_of_their_own(page: Page, seeded: Seeded) -> None:
    go(page, f"subnets/{seeded.winner_id}")
    page.get_by_role("link", name="compare with").click()
    expect(page.get_by_text("is picked: pick another one")).to_be_visible()
    other_id = page.locator("tr[data-subnet^='0000']").first.get_attribute("data-subnet")
    page.locator(f"tr[data-subnet='{other_id}']").get_by_role("checkbox").click()  # the table is then drawn anew
    page.get_by_role("link", name=re.compile(f"compare {seeded.winner_id[:8]} with")).click()
    page.wait_for_url(re.compile(f"#/compare/{seeded.winner_id}/{other_id}$"))
    figures = page.get_by_role("region", name="Figures", exact=True)
    expect(figures.get_by_role("row", name=re.compile("^latency on jetson-nano"))).to_contain_text("times")
    expect(figures.get_by_role("row", name=re.compile("^certificate"))).to_contain_text("met (emulated)")
    marked = page.locator("rect.different").count()
    rows = page.get_by_role("region", name=re.compile("^Blocks that differ, ")).locator("tbody tr")
    assert marked == 2 * rows.count() > 0
    expect(page.locator(".command code", has_text="nuwa derive --subnet").first).to_be_visible()
    page.get_by_role("link", name="swap").click()
    page.wait_for_url(re.compile(f"#/compare/{other_id}/{seeded.winner_id}$"))


def test_a_bundle_is_made_by_a_click_and_labelled(page: Page, seeded: Seeded) -> None:
    """The making itself is tested without a browser; here the API plays it."""
    asked: list[object] = []
    job = {"job_id": "j", "state": "queued", "subnet_id": "00000001", "device": "jetson-nano"}

    def play(route: Route) -> None:
        asked.append(route.request.post_data_json)
        route.fulfill(status=202, json=job)

    told = "".join(f"event: {kind}\ndata: {{}}\n\n" for kind in ("step", "end"))
    problem = {"message": "the base is gone", "hint": "put it back"}
    page.route("**/api/v1/subnets/00000001/bundle", play)
    page.route("**/bundle-jobs/j/events", lambda route: route.fulfill(content_type="text/event-stream", body=told))
    page.route("**/bundle-jobs/j", lambda route: route.fulfill(json=job | {"state": "failed", "problem": problem}))
    go(page, "subnets/00000001")
    expect(page.get_by_text("not fine-tuned, and not certified for a budget")).to_be_visible()
    page.get_by_role("button", name="make a bundle").click()
    expect(page.get_by_role("alert")).to_contain_text("the base is gone")
    expect(page.get_by_role("button", name="make a bundle")).to_be_enabled()
    assert asked == [{"device": "jetson-nano", "budget_ms": None}]
    go(page, "bundles")
    lost = page.locator(f"tr[data-subnet={seeded.lost_id}]")
    expect(lost).to_contain_text("gone, or another subnet's by now")
    expect(lost.get_by_role("link", name="zip")).to_have_count(0)
