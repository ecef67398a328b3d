"""The worklist page in a real browser: drawn, live, usable by keyboard, and safe with hostile names."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Response
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect
from pydicom.uid import DigitalXRayImageStorageForPresentation
from sse_starlette import EventSourceResponse

from gateway.list.pages import SiteFacts, build_pages, mount_static, waiting
from gateway.list.worklist import item as item_of
from worklist.finding import Algorithm, Analysis, Finding, FindingType, ImageReference, QualityNote, Side
from worklist.order import OrderKey, OrderPriority
from worklist.person_name import person_name
from worklist.records import ListedStudy
from worklist.study import Failure, FilmFacts, ReadingPolicy, StudyFacts, assess_standing

Item = dict[str, Any]

SITE = SiteFacts(
    version="0.1.0",
    dicom_host="pacs.example.org",
    dicom_port=4242,
    dicom_aet="ORTHANC",
    viewer="viewer/viewer?StudyInstanceUIDs=",
)
EMBEDDED = Algorithm(name="embedded", version="1", sha256="5f0c4f1f" * 8, device_uid="2.25.1")
OTHERS = (0.4, 0.35, 0.3, 0.22, 0.2, 0.12)  # probabilities of the findings that do not lead, as shares of the leader's
LATERAL = Failure(code="not_frontal", message="a lateral view; only frontal films are judged")
TRUNCATED = Failure(
    code="truncated_pixels",
    message="the pixel data ends after 1.2 of 7.2 MB: send the study again, then run firstread retry",
)


# ---- A small gateway under the test's control ----


def study(
    number: int,
    name: str,
    *,
    minutes: float,
    score: float | None = None,
    leading: FindingType = FindingType.PNEUMOTHORAX,
    **more: Any,  # noqa: ANN401 (fields of ListedStudy)
) -> Item:
    """An item as the gateway builds it, of a study that arrived so many minutes and 20 s ago.

    Args:
        number: makes its identifiers.
        name: Patient's Name.
        minutes: how long ago it arrived.
        score: None where it is not scored.
        leading: the finding with the score's own probability.
        more: fields of StudyFacts and of ListedStudy that differ from an ordinary reported film.
    """
    received_at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes, seconds=20)
    study_instance_uid = f"1.2.826.0.1.3680043.8.498.{number:04d}"
    analysis = None if score is None else analyzed(study_instance_uid, received_at, score, leading)
    scope_failure, film_failure = more.pop("scope_failure", None), more.pop("film_failure", None)
    is_reported = more.pop("is_reported", analysis is not None)
    facts = StudyFacts(
        received_at=received_at,
        order_priority=more.pop("order_priority", OrderPriority.ROUTINE),
        films=() if scope_failure else (FilmFacts(analysis=analysis, failure=film_failure),),
        scope_failure=scope_failure,
        is_reported=is_reported,
    )
    standing = assess_standing(facts, ReadingPolicy())
    values = {
        "rank": 1,
        "study_instance_uid": study_instance_uid,
        "patient_id": f"MRN-{48210 + 37 * number}",
        "patient_name": name,
        "accession_number": f"A{260_000 + number}",
        "study_description": "XR CHEST PA",
        "modality": "DX",
        "received_at": received_at,
        "order_priority": facts.order_priority,
        "analysis": analysis,
        "result_series_uids": (f"2.25.{10**36 + number}",) if is_reported else (),
        "crop_count": 2 if is_reported and analysis and analysis.is_urgent else 0,
        "updated_at": received_at,
        **{field.name: getattr(standing, field.name) for field in fields(standing)},
        **more,
    }
    return item_of(ListedStudy(**values))


def analyzed(study_instance_uid: str, completed_at: datetime, score: float, leading: FindingType) -> Analysis:
    """An explained Analysis whose most probable finding is the leading one."""
    shares = {leading: 1.0, **dict(zip([kind for kind in FindingType if kind is not leading], OTHERS, strict=False))}
    image = ImageReference(
        study_instance_uid=study_instance_uid,
        series_instance_uid=f"{study_instance_uid}.1",
        sop_class_uid=DigitalXRayImageStorageForPresentation,
        sop_instance_uid=f"{study_instance_uid}.1.1",
        rows=2048,
        columns=2048,
    )
    findings = tuple(
        Finding(
            type=kind,
            probability=round(score * share, 2),
            threshold=0.45,
            side=Side.RIGHT if kind is leading and score >= 0.5 else None,
        )
        for kind, share in shares.items()
    )
    return Analysis(
        image=image,
        scorer=EMBEDDED,
        findings=findings,
        score=score,
        threshold=0.5,
        completed_at=completed_at,
        elapsed_ms=21.5,
        quality=(QualityNote(code="rotated", message="The patient is slightly rotated."),) if score > 0.9 else (),
        explanation=(
            f"{leading.label} is the most probable finding ({score:.2f}). The region that weighed most lies in the "
            "upper zone of the patient's right lung."
        ),
    )


def twelve_studies() -> list[Item]:
    """A small morning: every state, every urgency, a STAT order, and names of many shapes."""
    portable: dict[str, Any] = {"study_description": "XR CHEST AP PORTABLE"}
    return [
        study(1, "Okafor^Ngozi", minutes=18, score=0.93),
        study(2, "Lindqvist^Per^Erik", minutes=64, score=0.71, leading=FindingType.PLEURAL_EFFUSION, modality="CR"),
        study(3, "Yamada^Tarou=山田^太郎=やまだ^たろう", minutes=7, score=0.86),
        study(4, "Haddad^Layla", minutes=131, score=0.12, leading=FindingType.CARDIOMEGALY),
        study(5, "Brennan^Sean^^^Jr", minutes=96, score=0.08, leading=FindingType.PNEUMONIA, modality="CR"),
        study(6, "Costa e Silva^Maria João", minutes=41, order_priority=OrderPriority.STAT, **portable),
        study(7, "Nowak^Zofia", minutes=52, score=0.58, leading=FindingType.CONSOLIDATION, is_reported=False),
        study(8, "Ramírez^Lucía", minutes=3),
        study(9, "Fischer^Anneliese^^Dr.", minutes=203, score=0.21, leading=FindingType.CARDIOMEGALY, modality="CR"),
        study(10, "Mbeki^Thandiwe", minutes=88, scope_failure=LATERAL, study_description="XR CHEST LATERAL"),
        study(11, "O'Neill^Aoife", minutes=27, film_failure=TRUNCATED, **portable),
        study(12, "^^^", minutes=1, study_description="", modality="CR"),
    ]


def in_reading_order(items: list[Item]) -> list[Item]:
    """The items sorted and ranked by the product's own key."""

    def key(listed: Item) -> tuple[bool, datetime, datetime, str]:
        return OrderKey(
            order_priority=OrderPriority.of(listed["order_priority"]),
            queue_at=datetime.fromisoformat(listed["queue_at"]),
            received_at=datetime.fromisoformat(listed["received_at"]),
            study_instance_uid=listed["study_instance_uid"],
        ).sort_key

    return [{**listed, "rank": rank} for rank, listed in enumerate(sorted(items, key=key), start=1)]


def phantom() -> bytes:
    """A drawn stand-in for a crop, as PNG."""
    image = Image.new("L", (240, 240), 130)
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 10, 290, 420), fill=45)
    for rib in range(6):
        draw.arc((-90, 10 + rib * 42, 300, 190 + rib * 42), 190, 340, fill=105, width=11)
    stream = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(6)).save(stream, "PNG")
    return stream.getvalue()


class Gateway:
    """The three addresses that the page uses, with items and events that the test sets."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.url = ""
        self.fetches = 0
        self.away: set[str] = set()
        self._listeners: list[asyncio.Queue[dict[str, Any] | None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self.app = FastAPI()
        self.app.include_router(build_pages(self.listed, SITE))
        mount_static(self.app)
        self.app.get("/worklist")(self.worklist)
        self.app.get("/worklist/events")(self.events)
        self.app.get("/ready")(self.ready)
        self.app.get("/worklist/{study_instance_uid}/crops/{number}.png")(self.crop)

    def listed(self) -> list[Item]:
        """Every item, in reading order."""
        return in_reading_order(self.items)

    def worklist(self, limit: int) -> dict[str, Any]:
        """GET /worklist."""
        self.fetches += 1
        return {"total": len(self.items), "items": self.listed()[:limit]}

    def ready(self) -> dict[str, Any]:
        """GET /ready."""
        return {"checks": {part: {"ok": part not in self.away} for part in ("database", "broker", "orthanc", "feed")}}

    async def events(self) -> EventSourceResponse:
        """GET /worklist/events."""
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._listeners.append(queue)

        async def messages() -> AsyncIterator[dict[str, Any]]:
            yield {"comment": "hello", "retry": 300}
            while (message := await queue.get()) is not None:
                yield message

        return EventSourceResponse(messages())

    def crop(self, study_instance_uid: str, number: int) -> Response:
        """GET /worklist/{study_instance_uid}/crops/{number}.png, for the crops that the study has."""
        known = next(known for known in self.items if known["study_instance_uid"] == study_instance_uid)
        if not 1 <= number <= known["crop_count"]:
            return Response(status_code=404)
        return Response(phantom(), media_type="image/png")

    def change(self, item: Item, **changes: object) -> Item:
        """Put an item on the list, or change it there, without telling anybody."""
        self.items = [other for other in self.items if other["study_instance_uid"] != item["study_instance_uid"]]
        self.items.append({**item, **changes})
        uid = item["study_instance_uid"]
        return next(listed for listed in self.listed() if listed["study_instance_uid"] == uid)

    def tell(self, item: Item, **changes: object) -> None:
        """Change an item and send it to every open page."""
        self._send({"event": "item", "data": json.dumps(self.change(item, **changes))})

    def withdraw(self, item: Item) -> None:
        """Take an item off the list and tell every open page."""
        self.items.remove(item)
        self._send({"event": "gone", "data": json.dumps({"study_instance_uid": item["study_instance_uid"]})})

    def hang_up(self) -> None:
        """Close every event stream, as a restarting gateway does."""
        self._send(None)
        self._listeners.clear()

    def _send(self, message: dict[str, Any] | None) -> None:
        assert self._loop is not None
        for queue in self._listeners:
            self._loop.call_soon_threadsafe(queue.put_nowait, message)


@pytest.fixture(scope="module")
def running() -> Iterator[Gateway]:
    """The gateway, served on a free loopback port."""
    gateway = Gateway()
    config = uvicorn.Config(gateway.app, port=0, log_level="warning", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the test's gateway did not start"
        time.sleep(0.02)
    gateway.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    yield gateway
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def gateway(running: Gateway) -> Gateway:
    """The running gateway with twelve fresh studies."""
    running.items = twelve_studies()
    running.away = set()
    return running


@pytest.fixture
def open_page(browser: Browser, gateway: Gateway) -> Iterator[Callable[..., Page]]:
    """Opens the page; at the end of the test, any console error or uncaught exception fails it."""
    troubles: list[str] = []
    contexts = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            troubles.append(message.text)

    def opened(width: int = 1400, *, scripts: bool = True, still: bool = False, prelude: str = "") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
            color_scheme="dark",
            reduced_motion="reduce" if still else "no-preference",
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(prelude)
        page.on("console", hear)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(gateway.url)
        if scripts:
            expect(page.locator("#connection")).to_have_text("Live")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def listed_uids(page: Page) -> list[str]:
    """The studies on the page, from top to bottom."""
    uids: list[str] = page.eval_on_selector_all("#rows tr", "rows => rows.map(row => row.dataset.uid)")
    return uids


def expect_order(page: Page, items: list[Item]) -> None:
    """Wait until the page lists these studies in the product's own order."""
    wanted = [listed["study_instance_uid"] for listed in in_reading_order(items)]
    deadline = time.monotonic() + 10
    while listed_uids(page) != wanted and time.monotonic() < deadline:
        page.wait_for_timeout(50)  # the page may not evaluate strings, so it cannot do the waiting itself
    assert listed_uids(page) == wanted


def row_of(page: Page, item: Item) -> Locator:
    """The row of a study."""
    return page.locator(f"tr[data-uid='{item['study_instance_uid']}']")


# ---- The list ----


def test_rows_stand_in_reading_order_with_every_column(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """STAT is first, then the earliest queue_at, and a row states rank, urgency, patient, study, state and reason."""
    page = open_page()
    expect_order(page, gateway.items)
    first, second = page.locator("#rows tr").nth(0), page.locator("#rows tr").nth(1)
    expect(first).to_contain_text("Costa e Silva, Maria João")
    expect(first.locator(".order")).to_have_text("STAT")
    expect(first.locator(".urgency")).to_have_text("Not scored")
    expect(second.locator(".rank")).to_have_text("2")
    expect(second.locator(".urgency")).to_have_text("Critical")
    expect(second.locator(".urgency svg use")).to_have_attribute("href", "#icon-critical")
    expect(second.locator(".patient")).to_contain_text("Okafor, Ngozi")
    expect(second.locator(".patient")).to_contain_text("MRN-48247")
    expect(second.locator(".study")).to_contain_text("XR CHEST PA")
    expect(second.locator(".study")).to_contain_text("DX A260001")
    expect(second.locator(".state")).to_have_text("AI report ready")
    expect(second.locator(".reason")).to_contain_text("moved up as if received 15 h")
    expect(second.locator(".waiting")).to_have_text("18 min")


def test_the_page_without_scripts_reads_as_the_page_with_them(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """The server and the script write the same words for the same items, whatever shape a name has."""
    names = [
        "A^B^C^D^E",
        "=山田^太郎=",
        "==やまだ^たろう",
        "A^B=A, B",
        " Doe ^ Jane ",
        "^Jane",
        "",
        "a^b^c^d^e^f=g=h=i",
    ]
    gateway.items += [study(100 + n, name, minutes=4000 - 500 * n) for n, name in enumerate(names)]
    cells = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    drawn = open_page(scripts=False).eval_on_selector_all("#rows tr", cells)
    page = open_page()
    assert gateway.fetches
    assert page.eval_on_selector_all("#rows tr", cells) == drawn
    assert len(drawn) == 20


def test_the_page_sorts_as_the_server_does(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """However events arrive, the page's order is the product's order, down to ties in queue_at and received_at."""
    page = open_page()
    chance = random.Random(7)  # noqa: S311 (no secret)
    moments = [datetime(2026, 11, 22, hour, tzinfo=UTC).isoformat() for hour in range(3)]
    for number in chance.sample(range(40), 40):
        gateway.tell(
            study(500 + number, f"Tie^{number}", minutes=1),
            queue_at=chance.choice(moments),
            received_at=chance.choice(moments),
            order_priority=chance.choice(["STAT", "HIGH", "ROUTINE"]),
        )
    expect_order(page, gateway.items)
    ranks = page.eval_on_selector_all("#rows [data-field=rank]", "cells => cells.map(cell => Number(cell.textContent))")
    assert ranks == list(range(1, 53))


def test_a_scored_study_rises_before_the_readers_eyes(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """One event moves a row up without a reload, slides it, marks it with where it came from, and says so aloud."""
    page = open_page()
    page.evaluate("window.sameDocument = true")
    waiting_study = gateway.items[7]
    row = row_of(page, waiting_study)
    before = listed_uids(page).index(waiting_study["study_instance_uid"]) + 1
    gateway.tell(study(8, "Ramírez^Lucía", minutes=3, score=0.97, is_reported=False))
    expect(row.locator("[data-field=rank]")).to_have_text("3")
    assert page.evaluate("document.getAnimations().some(move => move.effect.target.tagName === 'TR')")
    expect(row).to_have_class(re.compile("risen"))
    expect(row.locator(".rose")).to_have_text(f"▲ from {before}")
    expect(row.locator(".urgency")).to_have_text("Critical")
    expect(page.locator("#news")).to_contain_text(f"Ramírez, Lucía moved up from {before} to 3")
    expect_order(page, gateway.items)
    expect(row).not_to_have_class(re.compile("risen"), timeout=9000)
    assert page.evaluate("window.sameDocument")


def test_nothing_slides_for_those_who_ask_for_stillness(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """With prefers-reduced-motion the row is marked but not animated."""
    page = open_page(still=True)
    gateway.tell(study(8, "Ramírez^Lucía", minutes=3, score=0.97, is_reported=False))
    expect(row_of(page, gateway.items[-1])).to_have_class(re.compile("risen"))
    assert page.evaluate("document.getAnimations().length") == 0


def test_a_workstation_with_a_wrong_clock_shows_right_times(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """Waiting times count by the server's clock, not by that of a workstation three hours ahead."""
    page = open_page(prelude="const now = Date.now; Date.now = () => now() + 3 * 3600 * 1000;")
    expect(row_of(page, gateway.items[0]).locator(".waiting")).to_have_text("18 min")


def test_studies_come_and_go(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """A new study appears by its event; one that was withdrawn leaves the list."""
    page = open_page()
    new = study(13, "New^Arrival", minutes=0)
    gateway.tell(new)
    expect(row_of(page, new)).to_contain_text("New, Arrival")
    gone = gateway.items[0]
    gateway.withdraw(gone)
    expect(row_of(page, gone)).to_have_count(0)
    expect_order(page, gateway.items)


def test_a_gateway_that_hangs_is_not_live(open_page: Callable[..., Page]) -> None:
    """Where the gateway takes the question and never answers, the page says within seconds that it is not live."""
    page = open_page()
    connection = page.locator("#connection")
    expect(connection).to_have_text("Live")
    page.route("**/worklist?limit=*", lambda _: None)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(connection).to_contain_text("Not live: list as of", timeout=20_000)
    page.unroute_all(behavior="ignoreErrors")
    expect(connection).to_have_text("Live", timeout=20_000)


def test_nothing_is_missed_while_the_connection_is_down(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """After a reconnection the page shows what changed unheard, and meanwhile it says that it is not live."""
    page = open_page()
    page.evaluate("""() => {
        window.said = [];
        new MutationObserver(() => said.push(document.getElementById('connection').textContent))
            .observe(document.getElementById('connection'), {childList: true});
    }""")
    gateway.change(study(12, "Late^Answer", minutes=1, score=0.9))
    del gateway.items[0]
    gateway.hang_up()
    expect_order(page, gateway.items)
    expect(page.locator("#connection")).to_have_text("Live")
    said = page.evaluate("window.said")
    assert re.match(r"Not live: list as of \d.*, reconnecting", said[0])
    assert said[-1] == "Live"


def test_a_lost_connection_shows_wherever_the_reader_is(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """Scrolled far down, and beside the details on a narrow screen, a list that is not live says so in the window."""
    gateway.items = [study(200 + number, f"Name^{number}", minutes=number) for number in range(60)]
    page = open_page(800)
    row = page.locator("#rows tr").nth(40)
    row.scroll_into_view_if_needed()
    row.click()
    connection = page.locator("#connection")
    expect(connection).not_to_be_in_viewport()
    page.route("**/worklist**", lambda route: route.abort())
    gateway.hang_up()
    expect(connection).to_contain_text("Not live: list as of")
    expect(connection).to_be_in_viewport(ratio=1)
    on_top = """node => {
        const { left, top } = node.getBoundingClientRect();
        return document.elementFromPoint(left + 8, top + 8) === node;
    }"""
    assert connection.evaluate(on_top)


def test_a_live_list_that_may_be_incomplete_says_so(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """Where the gateway cannot reach Orthanc or the broker, the page does not just say Live."""
    page = open_page()
    gateway.away = {"orthanc", "broker"}
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    connection = page.locator("#connection")
    expect(connection).to_contain_text("may be missing: no answer from the broker and Orthanc")
    gateway.away = set()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(connection).to_have_text("Live")


def test_opening_details_leaves_the_row_under_the_pointer(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """The panel narrows the list and so changes every row's height, but the row that was clicked stays in its place."""
    gateway.items = [study(200 + number, f"Name^{number}", minutes=number) for number in range(60)]
    page = open_page()
    row = page.locator("#rows tr").nth(40)
    row.scroll_into_view_if_needed()
    top = "row => row.getBoundingClientRect().top"
    before = row.evaluate(top)
    row.click()
    expect(page.locator("#details")).to_be_visible()
    assert row.evaluate(top) == pytest.approx(before, abs=2)
    page.keyboard.press("Escape")
    assert row.evaluate(top) == pytest.approx(before, abs=2)


def test_a_row_that_slid_under_the_pointer_is_not_opened(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """A click on a row that is still moving opens nothing, because the reader aimed at another patient."""
    page = open_page()
    row = row_of(page, gateway.items[0])
    row.evaluate("row => void row.animate([{opacity: 1}, {opacity: 1}], 60_000)")
    row.click(force=True)
    expect(page.locator("#details")).to_be_hidden()
    row.evaluate("row => row.getAnimations().forEach(move => move.cancel())")
    row.click()
    expect(page.locator("#details")).to_be_visible()


def test_the_keyboard_never_hides_its_row_behind_the_heads(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """Going up a long list, the focused row stays below the column heads that stick to the top."""
    gateway.items = [study(200 + number, f"Name^{number}", minutes=number) for number in range(60)]
    page = open_page()
    page.locator("#rows button").nth(59).focus()
    for _ in range(40):
        page.keyboard.press("k")
    heads = page.locator("thead th").first.evaluate("head => head.getBoundingClientRect().bottom")
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= heads


def test_states_are_counted_and_filtered(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """Each state's button tells its count, shows only its studies, and leaves their ranks as they are."""
    page = open_page()
    counts = page.eval_on_selector_all("#filters b", "nodes => nodes.map(node => Number(node.textContent))")
    assert counts == [12, 3, 1, 6, 1, 1]
    expect(page.locator("#tally")).to_have_text("2 critical, 2 urgent")
    expect(page).to_have_title("(2) Reading list · Firstread")
    page.get_by_role("button", name="AI failed").click()
    visible = page.locator("#rows tr:visible")
    expect(visible).to_have_count(1)
    expect(visible).to_contain_text("O'Neill, Aoife")
    rank = [item["state"] for item in gateway.listed()].index("failed") + 1
    expect(visible.locator(".rank")).to_have_text(str(rank))
    gateway.tell(gateway.items[10], state="waiting", failure=None)
    expect(page.locator("#none-in-state")).to_be_visible()
    page.get_by_role("button", name="All").click()
    expect(visible).to_have_count(12)


def test_an_empty_list_tells_how_to_send_the_first_film(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """The empty page names host, port, AE title and a command; the first study replaces it."""
    gateway.items = []
    page = open_page()
    empty = page.locator("#empty")
    expect(empty).to_contain_text("firstread send FILE --host pacs.example.org --port 4242 --aet ORTHANC")
    expect(empty).to_contain_text("storescu -aec ORTHANC pacs.example.org 4242 FILE")
    expect(page.locator("#worklist")).to_be_hidden()
    gateway.tell(study(1, "First^Film", minutes=0))
    expect(empty).to_be_hidden()
    expect(page.locator("#rows tr")).to_have_count(1)


# ---- The keyboard and the details ----


def test_a_keyboard_alone_reads_the_list(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """j, k and the arrows move a visible focus, Enter opens the details, which follow, and Escape comes back."""
    page = open_page()
    uids = [item["study_instance_uid"] for item in gateway.listed()]
    focused = "document.activeElement.closest('tr')?.dataset.uid"
    page.keyboard.press("j")
    assert page.evaluate(focused) == uids[0]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate(focused) == uids[1]
    assert page.evaluate("getComputedStyle(document.activeElement.closest('tr')).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name="Okafor, Ngozi")
    expect(panel).to_be_visible()
    expect(page.locator("#rows button[aria-expanded=true]")).to_have_text("Okafor, Ngozi")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#details-name")).to_contain_text("Yamada, Tarou 山田 太郎")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "close"
    page.keyboard.press("Escape")
    expect(page.locator("#details")).to_be_hidden()
    assert page.evaluate(focused) == uids[2]
    page.keyboard.press("End")
    assert page.evaluate(focused) == uids[-1]
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == uids[-1]


def test_focus_and_selection_stay_with_the_study_that_moves(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """When the selected row rises, the focus and the panel rise with it, and the panel shows the new result."""
    page = open_page()
    chosen = gateway.items[7]
    row_of(page, chosen).locator(".reason").click()
    expect(page.locator("#details")).to_contain_text("None computed. That says nothing about the film.")
    gateway.tell(study(8, "Ramírez^Lucía", minutes=3, score=0.97))
    expect(row_of(page, chosen).locator("[data-field=rank]")).to_have_text("3")
    assert page.evaluate("document.activeElement.closest('tr').dataset.uid") == chosen["study_instance_uid"]
    expect(page.locator("#details [data-field=score]")).to_contain_text("Score 0.97")


def test_details_show_evidence_numbers_and_provenance(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """The panel holds each probability as bar and number, the words, the crops, the model and the disclaimer."""
    page = open_page()
    row_of(page, gateway.items[0]).click()
    panel = page.locator("#details")
    for text in ("Not a diagnosis. Research use. Unverified AI output.", "It is not the radiologist's report."):
        expect(panel).to_contain_text(text)
    expect(panel).to_contain_text("Pneumothorax is the most probable finding")
    bars = panel.locator("meter").evaluate_all("meters => meters.map(meter => [meter.ariaLabel, meter.value])")
    findings = gateway.items[0]["findings"]
    assert bars == [[f"{finding['name']}, operating point 0.45", finding["probability"]] for finding in findings]
    expect(panel.locator("output").first).to_have_text("0.93")
    expect(panel.get_by_role("link", name="Part of the film that weighed most, 2 of 2")).to_have_attribute(
        "href", re.compile(r"worklist/1\.2\.826\.0\.1\.3680043\.8\.498\.0001/crops/2\.png$")
    )
    expect(panel.locator(".positive")).to_have_text(["Pneumothorax, patient's right0.93"])
    expect(panel.locator("#quality")).to_contain_text("The patient is slightly rotated.")
    expect(panel).to_contain_text("embedded 1")
    expect(panel).to_contain_text(EMBEDDED.sha256)
    expect(panel.get_by_role("link", name="Open in the viewer")).to_have_attribute(
        "href", "viewer/viewer?StudyInstanceUIDs=1.2.826.0.1.3680043.8.498.0001"
    )
    expect(panel.locator("img")).to_have_count(2)
    panel.locator("img").last.scroll_into_view_if_needed()
    expect(panel.locator("img").last).to_have_js_property("naturalWidth", 240)
    row_of(page, gateway.items[0]).click()
    expect(panel).to_be_hidden()


def test_no_number_claims_certainty(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """A probability that two decimals would round to 0 or 1 is shown as below 0.01 or above 0.99."""
    sure = study(70, "Sure^Too", minutes=2, score=0.999)
    sure["findings"][-1]["probability"] = 0.004
    gateway.items.append(sure)
    page = open_page()
    row_of(page, sure).click()
    expect(page.locator("#details output").first).to_have_text("> 0.99")
    expect(page.locator("#details output").last).to_have_text("< 0.01")
    heights = page.eval_on_selector_all("#details output", "cells => cells.map(cell => cell.offsetHeight)")
    assert len(set(heights)) == 1, "no number breaks into two lines"


def test_a_failed_study_says_why_and_what_to_do(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """The panel of a failed study shows the failure's code and message, and claims nothing about the film."""
    page = open_page()
    row_of(page, gateway.items[10]).click()
    panel = page.locator("#details")
    expect(panel.locator("#failure")).to_contain_text("the pixel data ends after 1.2 of 7.2 MB")
    expect(panel.locator("#failure")).to_contain_text("truncated_pixels")
    expect(panel).to_contain_text("A missing score says nothing about it.")
    expect(panel.locator("#provenance")).to_be_hidden()


# ---- Hostile input, size, headers ----


def test_hostile_text_stays_text(gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """Markup in any field is shown letter by letter, by the server and by the script, and never runs."""
    name = "<script>hack()</script><u>'\"&amp;{{7*7}}"
    attack = name + "<img src=x onerror=hack()>"
    hostile = study(66, name, minutes=5, score=0.9)
    fields = ("patient_id", "accession_number", "study_description", "modality", "reason", "explanation")
    hostile |= dict.fromkeys(fields, attack)
    hostile["findings"][0]["name"] = hostile["findings"][1]["side"] = attack
    hostile["quality"] = [{"code": attack, "message": attack}]
    hostile["failure"] = {"code": attack, "message": attack}
    hostile["model"] = dict.fromkeys(hostile["model"], attack)
    gateway.items.append(hostile)
    drawn = row_of(open_page(scripts=False), hostile)
    expect(drawn.locator(".patient")).to_contain_text(name)
    expect(drawn.locator(".study")).to_contain_text(attack)
    expect(drawn.locator(".reason")).to_have_text(attack)
    page = open_page()
    gateway.tell({**hostile, "study_instance_uid": "1.2'\"><script>hack()<script>"})
    expect(page.locator("#rows tr")).to_have_count(14)
    expect(page.locator("#rows tr").last).to_be_visible()
    row_of(page, hostile).click()
    expect(page.locator("#details-name")).to_contain_text(name)
    for place in ("#failure", "#explanation", ".findings", "#quality", "#provenance", "#details .facts >> nth=0"):
        expect(page.locator(place)).to_contain_text(attack)
    made = "#rows :is(img, script, u), #details :is(script, u), #details img[src='x']"
    assert page.locator(made).count() == 0


@pytest.mark.parametrize("width", [1400, 1024, 800])
def test_nothing_needs_sideways_scrolling(width: int, gateway: Gateway, open_page: Callable[..., Page]) -> None:
    """The page fits its window, details open or closed, even with the longest unbroken name and UID."""
    gateway.items.append(study(99, "W" * 64, minutes=4, score=0.99, study_description="X" * 64))
    gateway.items[-1] |= {"accession_number": "9" * 16, "patient_id": "8" * 64, "reason": "y" * 200}
    page = open_page(width)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    row_of(page, gateway.items[-1]).click()
    assert page.evaluate(overflow) == 0
    inside = "panel => panel.scrollWidth <= panel.clientWidth && panel.getBoundingClientRect().right <= innerWidth"
    assert page.eval_on_selector("#details", inside)
    cells = "cells => cells.every(cell => cell.scrollWidth <= cell.clientWidth)"
    assert page.eval_on_selector_all("#rows td", cells)


def test_page_and_static_files_carry_security_headers(open_page: Callable[..., Page], gateway: Gateway) -> None:
    """Scripts and styles come from the gateway alone, types are not guessed, and no cache keeps patients' names."""
    request = open_page().request
    for path in ("", "static/worklist.js", "static/worklist.css"):
        headers = request.get(gateway.url + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("no-cache" if path else "no-store")


# ---- The words ----


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Doe^Jane", ("Doe, Jane", "")),
        ("Doe^Jane^Ann^Dr.^PhD", ("Doe, Jane Ann, Dr. PhD", "")),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ("Yamada, Tarou", "山田 太郎")),
        ("=山田^太郎", ("山田 太郎", "")),
        ("==やまだ^たろう", ("やまだ たろう", "")),
        ("DOE", ("DOE", "")),
        ("", ("No name", "")),
        ("^^^=^=", ("No name", "")),
    ],
)
def test_person_names_read_as_people_write_them(value: str, shown: tuple[str, str]) -> None:
    """A PN shows family, given and middle, prefix and suffix, with its ideographic group beside the alphabetic."""
    assert person_name(value) == shown


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [(-5, "< 1 min"), (0.9, "< 1 min"), (12, "12 min"), (60, "1 h 00 min"), (185, "3 h 05 min"), (52 * 60, "2 d 4 h")],
)
def test_waiting_time_is_said_in_the_unit_that_matters(minutes: float, shown: str) -> None:
    """Minutes below an hour, hours below two days, then days; a clock that runs ahead gives no negative time."""
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert waiting((now - timedelta(minutes=minutes)).isoformat(), now) == shown
