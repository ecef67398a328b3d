"""The page /try in a real browser, on a real site: a film is chosen or dropped, judged, and shown with its evidence."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.acceptance.conftest import RunningSite
from tests.axe import axe_findings
from tests.bad_films import BAD_FILMS, chest
from tests.browsing import ask_once, wait_until
from tests.trying import film, score
from worklist.triage import Urgency

PRIOR = "PA chest of 12 March. The heart is enlarged. Small left pleural effusion, unchanged."
MARKUP = "<img src=x onerror=hack()><script>hack()</script>"


def test_the_page_shows_all_of_an_answer(open_page: Callable[..., Page]) -> None:
    """Flag, score, words, shown probabilities, quotations, model, latency and disclaimer stand on the page."""
    page = open_page()
    page.get_by_label("Prior report").fill(PRIOR)
    answer = score(page, film())
    result = page.locator("#result")
    flag = Urgency(answer["urgency"]).label
    expect(page.locator("#verdict")).to_have_text(flag)
    assert page.evaluate("document.activeElement.id") == "verdict"
    expect(page.get_by_role("status")).to_have_text(f"{flag}, score {answer['score']:.2f}")
    for text in (
        "Not a diagnosis. Research use. Unverified AI output.",
        answer["explanation"],
        f"Score {answer['score']:.2f}: for any urgent finding.",
        f"{answer['model']['name']} {answer['model']['version']}",
        answer["model"]["sha256"],
        f"{answer['model_size_mb']:.1f} MB",
        "512 × 600 pixels",
        *answer["quality"].values(),
    ):
        expect(result).to_contain_text(text)
    assert re.search(r"[\d.]+ ms to score, [\d.]+ m?s with upload", result.inner_text())
    meters = result.locator("meter").evaluate_all("meters => meters.map(meter => [meter.ariaLabel, meter.value])")
    shown = [finding for finding in answer["findings"] if finding["shown"]]
    assert 0 < len(shown) < len(answer["findings"]), "the shipped model has outputs that are shown, and others"
    assert meters == [
        [
            f"{finding['name']}, {finding['probability'] / finding['threshold']:.1f} times its threshold",
            pytest.approx(min(finding["probability"] / finding["threshold"], 2)),
        ]
        for finding in shown
    ]
    named = [finding for finding in shown if finding["named"]]
    assert named
    expect(result.locator(".named")).to_have_count(len(named))
    for line in result.locator(".named [data-field=meaning]").all():
        expect(line).to_have_text(
            re.compile(r"Of 10 films marked like this, about \d+ had it \(counted on \d+ films\)\.")
        )
    expect(result.locator("blockquote")).to_have_text([quote["snippet"] for quote in answer["provenance"]])
    assert len(answer["provenance"]) == 2


def test_boxes_lie_where_the_answer_says(open_page: Callable[..., Page]) -> None:
    """Each box is drawn to the pixel on the film, numbered as its crop, and can be taken away."""
    page = open_page()
    answer = score(page, film())
    assert answer["crops"]
    expect(page.locator("#film")).to_have_js_property("naturalWidth", 512)
    frame = page.locator("#film").bounding_box()
    assert frame
    assert frame["width"] / frame["height"] == pytest.approx(512 / 600, abs=0.01)
    scale = frame["width"] / 512
    drawn = page.locator(".box")
    expect(drawn).to_have_count(len(answer["crops"]))
    for index, crop in enumerate(answer["crops"]):
        box = drawn.nth(index).bounding_box()
        assert box
        found = (box["x"] - frame["x"], box["y"] - frame["y"], box["width"], box["height"])
        assert found == pytest.approx([crop[side] * scale for side in ("x", "y", "w", "h")], abs=1)
        expect(drawn.nth(index)).to_have_text(str(index + 1))
        figure = page.locator("#crops figure").nth(index)
        expect(figure).to_have_text(f"{index + 1} {crop['finding']}")
        assert figure.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 1
        figure.locator("a").focus()
        expect(drawn.nth(index)).to_have_class("box shown")
    page.get_by_label("Boxes").uncheck()
    expect(drawn.first).to_be_hidden()


def test_a_keyboard_alone_is_enough(open_page: Callable[..., Page]) -> None:
    """File, prior report and button follow one another, each with a name and a visible focus."""
    page = open_page()
    page.on("filechooser", lambda chooser: chooser.set_files(film()))
    focused = "document.activeElement.id || document.activeElement.textContent"
    order = []
    for _ in range(5):
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
    assert order == ["Reading list", "file", "note", "prior", "go"]
    page.locator("#file").focus()
    assert page.evaluate("getComputedStyle(document.getElementById('drop')).outlineStyle") == "solid"
    expect(page.get_by_label("Choose a chest film or drop it here")).to_have_id("file")
    page.keyboard.press("Enter")
    expect(page.locator("#chosen")).to_contain_text("film.png")
    page.locator("#go").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_be_focused()


def test_a_film_may_be_dropped_anywhere(open_page: Callable[..., Page]) -> None:
    """A drop beside the field is taken too, instead of replacing the page, and Enter then scores it."""
    page = open_page()
    content = base64.b64encode(bytes(film()["buffer"])).decode()
    transfer = page.evaluate_handle(
        """content => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], "dropped.png"));
            return transfer;
        }""",
        content,
    )
    page.dispatch_event("footer", "dragover", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_have_class("drop over")
    page.dispatch_event("footer", "drop", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_have_class("drop")
    expect(page.locator("#chosen")).to_contain_text("dropped.png")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_be_visible()


def test_dicom_is_judged_and_a_failure_is_told_in_place(open_page: Callable[..., Page], tmp_path: Path) -> None:
    """A DICOM film gives a result; one out of scope gives code and reason, and no result that is not its own."""
    chest(41).save_as(tmp_path / "chest.dcm", enforce_file_format=True)
    page = open_page()
    score(page, tmp_path / "chest.dcm")
    expect(page.locator("#result")).to_be_visible()
    page.locator("#file").set_input_files(BAD_FILMS["ct_slice"](tmp_path))
    expect(page.locator("#result")).to_be_hidden()
    score(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Not a radiograph (modality CT)")
    expect(alert).to_contain_text("not_a_radiograph")
    expect(page.locator("#result")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "go", "the next try is one key away"
    score(page, tmp_path / "chest.dcm")
    expect(alert).to_be_hidden()
    expect(page.locator("#result")).to_be_visible()


def test_what_needs_no_gateway_is_told_at_once(open_page: Callable[..., Page]) -> None:
    """No film, or one that is too large, is told without a request; a silent gateway is told too."""
    page = open_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/static/" not in request.url else None)
    page.get_by_role("button", name="Score this film").click()
    expect(page.get_by_role("alert")).to_contain_text("No film chosen")
    expect(page.locator("#file")).to_be_focused()
    page.locator("#form").evaluate("form => form.dataset.uploadBytes = 1000")
    page.locator("#file").set_input_files(film())
    page.get_by_role("button", name="Score this film").click()
    expect(page.get_by_role("alert")).to_contain_text("Too large")
    assert asked == []
    page.locator("#form").evaluate("form => form.dataset.uploadBytes = 1e9")
    page.route("**/predict", lambda route: route.abort())
    page.get_by_role("button", name="Score this film").click()
    expect(page.get_by_role("alert")).to_contain_text("The gateway did not answer")


def test_one_film_at_a_time(open_page: Callable[..., Page]) -> None:
    """While a film is being scored the button says so, keeps the focus, and sends nothing more."""
    page = open_page()
    page.locator("#file").set_input_files(film())
    held: list[Route] = []
    page.route("**/predict", lambda route: held.append(route))  # noqa: PLW0108 - playwright takes no builtin
    button = page.get_by_role("button", name="Score this film")
    button.click()
    expect(page.get_by_role("status")).to_have_text("Scoring …")
    expect(button).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Enter")
    ask_once(page)
    wait_until(page, lambda: bool(held))
    assert len(held) == 1
    held[0].continue_()
    expect(page.locator("#verdict")).to_be_visible()


def test_hostile_text_stays_text(open_page: Callable[..., Page]) -> None:
    """Markup in a file's name or in a prior report is shown letter by letter, and never runs."""
    page = open_page()
    quoted = "Pneumothorax <img src=x onerror=hack()> seen."
    page.get_by_label("Prior report").fill(f"{quoted} Pneumothorax {MARKUP} seen.")
    score(page, film(name=f"{MARKUP.replace('/', '')}.png"))
    expect(page.locator("blockquote")).to_have_text(quoted)  # a script is withheld at the input gate
    expect(page.locator("#result")).to_contain_text("<img src=x onerror=hack()>")
    expect(page.locator("#chosen")).to_contain_text("<img src=x onerror=hack()>")
    assert page.locator("#try script, #try img[src='x']").count() == 0


def test_a_prior_report_without_findings_says_so(open_page: Callable[..., Page]) -> None:
    """Nothing quoted is told as such, and where no report was given nothing is said of one."""
    page = open_page()
    page.get_by_label("Prior report").fill("Knee: no fracture.")
    score(page, film())
    expect(page.locator("#quotes")).to_contain_text("No sentence of it mentions a finding")
    page.get_by_label("Prior report").fill("")
    score(page)
    expect(page.locator("#quotes")).to_be_hidden()


@pytest.mark.parametrize("width", [1400, 1000, 800, 400])
def test_nothing_needs_sideways_scrolling(width: int, open_page: Callable[..., Page]) -> None:
    """The page fits its window with a result of every part, and the film is not cut."""
    page = open_page(width)
    page.get_by_label("Prior report").fill(f"Pneumothorax {'x' * 300}.")
    score(page, film(name=f"{'W' * 120}.png"))
    expect(page.locator("#result")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    frame = page.locator("#frame").bounding_box()
    assert frame
    assert 0 <= frame["x"] < frame["x"] + frame["width"] <= width
    assert frame["height"] <= 900


def test_the_head_says_what_the_model_looks_for(running: RunningSite, open_page: Callable[..., Page]) -> None:
    """The same words as on the reading list, and what this model does not find reliably among them."""
    scope = httpx.get(f"{running.site.gateway_url}/worklist/scope", trust_env=False).json()
    assert "Pneumothorax" in scope["unreliable"]
    said = [open_page(path=path).locator("#scope").inner_text() for path in ("try", "")]
    assert said[0] == said[1]
    assert f"Does not find reliably, and never flags: {', '.join(scope['unreliable'])}." in said[0]
    assert "It flags nothing as critical." in said[0]


def test_the_two_pages_lead_to_each_other(open_page: Callable[..., Page]) -> None:
    """The reading list links here and back, under the same headers, and without scripts the page says what to do."""
    page = open_page(path="")
    page.get_by_role("link", name="Try a film").click()
    expect(page).to_have_title("Try a film · Firstread")
    headers = page.request.get(page.url).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "require-trusted-types-for 'script'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    page.get_by_role("link", name="Reading list").click()
    expect(page).to_have_title(re.compile("Reading list · Firstread$"))
    expect(open_page(scripts=False).locator("form .note")).to_contain_text("curl -F file=@FILE")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out_of_a_result(scheme: Literal["light", "dark"], open_page: Callable[..., Page]) -> None:
    """axe-core finds nothing wrong with a result of every part, nor with a refusal."""
    page = open_page()
    page.emulate_media(color_scheme=scheme)
    page.get_by_label("Prior report").fill(PRIOR)
    score(page, film())
    expect(page.locator("#result")).to_be_visible()
    assert axe_findings(page) == []
    page.locator("#form").evaluate("form => form.dataset.uploadBytes = 1000")
    page.get_by_role("button", name="Score this film").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert axe_findings(page) == []
