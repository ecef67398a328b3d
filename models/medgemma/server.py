"""MedGemma behind any OpenAI-compatible server: vLLM, llama.cpp, and whatever else speaks POST /v1/chat/completions.

Images go as data URLs, first, so that a server that keeps prefixes need not look at a film twice; a server that
ignores the schema is noticed by its answers. Waiting ends, and the connection with it, as soon as the answer is of no
use any more: vLLM and llama.cpp then stop computing.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from contextlib import suppress
from typing import Any, Final

import httpx
from PIL import Image

from models.medgemma.question import Patience, Question
from worklist.errors import ModelUnavailable
from worklist.finding import Algorithm
from worklist.uids import device_uid

_CONNECT_S: Final = 5.0
_LOOK_S: Final = 1.0  # between two looks at whether the answer is still wanted
_LONGEST_BYTES: Final = 1_000_000  # of an answer: a server that never ends is given up
_TEMPERATURE: Final = 0.0
_ERROR_KIND: Final = re.compile(r"\w{1,40}")


class OpenAiServer:
    """One model of one server.

    Args:
        url: root of the server, with or without /v1.
        model: its name there.
        api_key: sent as a bearer token where it is not empty.
    """

    def __init__(self, url: str, model: str, api_key: str = "") -> None:
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._algorithm = Algorithm(
            name=model, version="as served", sha256="", device_uid=device_uid(f"{self._url} {model}")
        )

    @property
    def algorithm(self) -> Algorithm:
        """What the server calls it; a server does not tell the digest of its weights."""
        return self._algorithm

    def check(self) -> str:
        """A line that says that the server has the model.

        Raises:
            ModelUnavailable: it does not answer, or has no such model.
        """
        try:
            with httpx.Client(trust_env=False, timeout=_CONNECT_S, headers=self._headers) as client:
                answer = client.get(f"{self._url}/models")
                answer.raise_for_status()
                names = [str(entry["id"]) for entry in answer.json()["data"]]
        except httpx.HTTPError as error:
            raise _away(self._url, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ModelUnavailable(
                "explainer_error",
                f"what answers at {self._url} is no OpenAI-compatible server: set FIRSTREAD_EXPLAINER_URL",
            ) from error
        if self._model not in names:
            raise ModelUnavailable(
                "explainer_error",
                f"{self._url} has {', '.join(names) or 'no model'}, not {self._model}: set FIRSTREAD_EXPLAINER_MODEL",
            )
        return f"{self._model} at {self._url}"

    def answer(self, question: Question, patience: Patience) -> str:
        """The text of its answer.

        Raises:
            NoLongerWanted: the answer is of no use any more.
            ModelUnavailable: explainer_away, explainer_refused, explainer_error or explainer_timeout.
        """
        patience.require()
        return asyncio.run(self._ask(self._body(question), patience))

    def _body(self, question: Question) -> dict[str, Any]:
        films = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in question.images]
        return {
            "model": self._model,
            "messages": [
                {"role": "system", "content": question.system},
                {"role": "user", "content": [*films, {"type": "text", "text": question.text}]},
            ],
            "max_tokens": question.max_tokens,
            "temperature": _TEMPERATURE,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "explanation", "strict": True, "schema": question.schema},
            },
        }

    async def _ask(self, body: dict[str, Any], patience: Patience) -> str:
        task = asyncio.create_task(self._post(body))
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=max(0.0, min(_LOOK_S, patience.left_s)))
                if done:
                    return task.result()
                patience.require()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, ModelUnavailable):
                await task

    async def _post(self, body: dict[str, Any]) -> str:
        timeout = httpx.Timeout(None, connect=_CONNECT_S)
        try:
            async with (
                httpx.AsyncClient(trust_env=False, timeout=timeout, headers=self._headers) as client,
                client.stream("POST", f"{self._url}/chat/completions", json=body) as response,
            ):
                content = bytearray()
                async for piece in response.aiter_bytes():
                    content += piece
                    if len(content) > _LONGEST_BYTES:
                        raise ModelUnavailable("explainer_error", f"{self._url} sends an answer without end")
                return _text_of(self._url, response.status_code, bytes(content))
        except httpx.HTTPError as error:
            raise _away(self._url, error) from error


def _text_of(url: str, status: int, content: bytes) -> str:
    try:
        values = json.loads(content)
    except ValueError as error:
        raise ModelUnavailable("explainer_error", f"{url} answers {status} without JSON: see its log") from error
    said = values.get("error") if isinstance(values, dict) else None
    if status >= httpx.codes.BAD_REQUEST or said:
        kind = str(said.get("type") or said.get("code") or "") if isinstance(said, dict) else ""
        named = f" ({kind})" if _ERROR_KIND.fullmatch(kind) else ""  # and no message: it may quote what was asked
        code = "explainer_refused" if httpx.codes.is_client_error(status) else "explainer_error"
        raise ModelUnavailable(code, f"{url} answers {status} and an error{named}: see its log")
    try:
        text = values["choices"][0]["message"]["content"]
    except (LookupError, TypeError) as error:
        raise ModelUnavailable("explainer_error", f"{url} answers {status} without an answer: see its log") from error
    return text if isinstance(text, str) else ""


def _away(url: str, error: httpx.HTTPError) -> ModelUnavailable:
    return ModelUnavailable(
        "explainer_away", f"{url} does not answer ({type(error).__name__}): start it, or see FIRSTREAD_EXPLAINER_URL"
    )


def _data_url(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
