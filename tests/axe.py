"""axe-core, run on a page as it stands: what keeps people out of it, such as a control without a name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

AXE = Path(sys.prefix) / "share" / "axe" / "axe.min.js"


def axe_findings(page: Page) -> list[str]:
    """What axe-core finds wrong, and what it could not decide, each with the elements; empty where there is nothing."""
    assert AXE.is_file(), f"these tests need axe-core in {AXE.parent}: make setup"
    page.evaluate(f"() => {{ {AXE.read_text(encoding='utf-8')} }}")
    found: dict[str, Any] = page.evaluate("() => axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    return [
        f"{kind} {rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes'][:5]]}"
        for kind in ("violations", "incomplete")
        for rule in found[kind]
    ]
