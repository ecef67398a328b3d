"""`GET /simulate`: a form, and once it is sent, how long studies would wait. The server draws it, without a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.list.pages import TEMPLATES, SiteFacts, security_headers
from gateway.simulate.form import LONGEST_SHIFTS, Form
from gateway.simulate.runner import Runner
from worklist.errors import FirstreadError, InvalidInput
from worklist.finding import DISCLAIMER
from worklist.records import JobRecords
from worklist.simulation.comparison import Comparison, Waits, group_titles
from worklist.simulation.orders import Order
from worklist.triage import TriagePolicy

_RETRY_AFTER_S = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A number with its bar.

    Attributes:
        text: the number.
        length: of the bar, 0 to 100, of the longest of its kind on the page.
    """

    text: str
    length: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What an order does for a group."""

    order: Order
    bars: tuple[Bar, ...]
    late: str
    saved: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A group of studies, and what each order does for it."""

    key: str
    title: str
    studies: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedModel:
    """What is known of the model where no worker has said yet which one runs.

    Attributes:
        usual: gives the policy that would come into force.
        aucs: gives the areas under the ROC curves of a model by the digest of its weights, as far as they are known.
    """

    usual: Callable[[], TriagePolicy]
    aucs: Callable[[str], Mapping[str, float]]


def build_simulate(jobs: JobRecords, model: SimulatedModel, site: SiteFacts) -> APIRouter:
    """The router of `GET /simulate`.

    Args:
        jobs: knows the policy in force.
        model: what else is known.
        site: what the pages tell about this installation.
    """
    templates = Environment(
        loader=FileSystemLoader([Path(__file__).parent / "templates", TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    router = APIRouter()
    runner = Runner()

    def form() -> Form:
        policy = jobs.policy() or model.usual()
        return Form.of(policy, model.aucs(policy.card.sha256))

    @router.get("/simulate", response_class=HTMLResponse, include_in_schema=False)
    async def simulate(request: Request) -> HTMLResponse:
        chosen = dict(request.query_params)
        shown = await run_in_threadpool(form)
        comparison, problem, status = None, "", HTTPStatus.OK
        if "run" in chosen:
            try:
                comparison = await runner.run(shown.scenario(chosen))
            except FirstreadError as error:
                problem = error.message
                is_wrong = isinstance(error, InvalidInput)
                status = HTTPStatus.UNPROCESSABLE_ENTITY if is_wrong else HTTPStatus.SERVICE_UNAVAILABLE
        html = templates.get_template("simulate.html").render(
            form=shown,
            chosen=chosen,
            comparison=comparison,
            groups=list(_groups(comparison, shown)) if comparison else [],
            problem=problem,
            orders=list(Order),
            longest_shifts=LONGEST_SHIFTS,
            disclaimer=DISCLAIMER,
            site=site,
        )
        headers = security_headers(form_action="'self'")
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(_RETRY_AFTER_S)
        return HTMLResponse(html, status_code=status, headers=headers)

    return router


def _groups(comparison: Comparison, form: Form) -> Iterator[Group]:
    every = [waits for groups in comparison.waits.values() for waits in groups.values()]
    top = {name: max(minutes(waits) for waits in every) for name, minutes in _MINUTES.items()}
    known = comparison.waits[Order.FIRST_COME]
    for group, title in group_titles(each.key for each in form.findings).items():
        if group in known:
            yield Group(
                key=group,
                title=title,
                studies=known[group].studies,
                lines=tuple(_line(order, groups[group], top) for order, groups in comparison.waits.items()),
            )


_MINUTES: Mapping[str, Callable[[Waits], float]] = {
    "mean": lambda waits: waits.mean.value,
    "p95": lambda waits: waits.p95.value,
    "longest": lambda waits: waits.longest,
}


def _line(order: Order, waits: Waits, top: Mapping[str, float]) -> Line:
    saved = waits.saved
    return Line(
        order=order,
        bars=tuple(
            Bar(text=f"{minutes(waits):.0f}", length=round(100 * minutes(waits) / (top[name] or 1), 1))
            for name, minutes in _MINUTES.items()
        ),
        late=f"{100 * waits.late.value:.0f} %",
        saved="" if order is Order.FIRST_COME else f"{saved.value:z.1f} ({saved.low:z.1f} to {saved.high:z.1f})",
    )
