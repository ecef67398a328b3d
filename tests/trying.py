"""The page /try as a person uses it: a film is chosen and the button pressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import FilePayload, Page

from tests.boxed_films import boxed_picture


def film(name: str = "film.png") -> FilePayload:
    """A simulated film whose heart is named and outlined, 512 x 600 pixels, as PNG."""
    return {"name": name, "mimeType": "image/png", "buffer": boxed_picture()}


def score(page: Page, file: FilePayload | Path | None = None, button: str = "Score this film") -> dict[str, Any]:
    """Choose a film where one is given, press the button, and return what the gateway answered."""
    if file:
        page.locator("#file").set_input_files(file)
    with page.expect_response("**/predict") as answer:
        page.get_by_role("button", name=button).click()
    answered: dict[str, Any] = answer.value.json()
    return answered
