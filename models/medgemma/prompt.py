"""The versioned prompt and its schema, the same for every way to the model, and the token limit that follows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from worklist.finding import KNOWN_FINDINGS, FindingType
from worklist.words import in_a_sentence

FILE: Final = Path(__file__).parent / "prompt.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFile:
    """Prompt and schema as their file holds them.

    Attributes:
        version: of the prompt, as every result states it.
        sha256: digest of the file.
        texts: the parts of the prompt by name.
        schema: JSON Schema of an answer: every string, array and number in it is bounded.
        findings: what may be stated, by the name that the model uses.
    """

    version: str
    sha256: str
    texts: Mapping[str, Any]
    schema: Mapping[str, Any]
    findings: Mapping[str, FindingType]
    max_tokens: int = field(init=False)
    """The longest answer in bytes and an end mark: each token holds at least a byte, so every answer is completed."""

    def __post_init__(self) -> None:
        """Compute the token limit."""
        object.__setattr__(self, "max_tokens", most_bytes(self.schema) + 1)

    @property
    def system(self) -> str:
        """The rules."""
        return "\n".join(self.texts["system"])

    def question(
        self, *, scores: Sequence[str], data: Sequence[str], has_prior_film: bool, taken: str = "", faults: str = ""
    ) -> str:
        """What is asked of one study, to stand behind its images.

        Args:
            scores: what the scorer suspects, in words.
            data: lines of foreign text that passed the input gate, to be quoted by their number.
            has_prior_film: whether an earlier film stands before the present one ...
            taken: ... and when it was taken.
            faults: why the answer before was refused; "" the first time.
        """
        films = self.texts["films"]["two" if has_prior_film else "one"]
        lines = "\n".join(f"[{number}] {line}" for number, line in enumerate(data, start=1))
        return "\n".join(
            filter(
                None,
                (
                    films.replace("{taken}", f" of {taken}" if taken else ""),
                    self.texts["scores"].replace("{scores}", "; ".join(scores) or self.texts["nothing_suspected"]),
                    self.texts["data"].replace("{lines}", lines or self.texts["no_data"]),
                    *self.texts["task"],
                    self.texts["repair"].replace("{faults}", faults) if faults else "",
                ),
            )
        )


def load_prompt(file: Path = FILE) -> PromptFile:
    """The prompt in force, of films or of whatever else has a file of its own."""
    content = file.read_bytes()
    values = json.loads(content)
    findings = {in_a_sentence(KNOWN_FINDINGS[key].label): KNOWN_FINDINGS[key] for key in values.get("findings", ())}
    return PromptFile(
        version=values["version"],
        sha256=hashlib.sha256(content).hexdigest(),
        texts=values,
        schema=_resolved(values["schema"], {"enum": list(findings)}),
        findings=findings,
    )


def most_bytes(schema: Mapping[str, Any]) -> int:
    """The bytes of the longest compact answer of a bounded schema of one-byte characters without escapes."""
    if "enum" in schema:
        return max(len(json.dumps(value)) for value in schema["enum"])
    match schema["type"]:
        case "integer":
            return len(f"{schema['maximum']:d}")
        case "string":
            return 2 + _longest(schema["pattern"].removeprefix("^").removesuffix("$"))
        case "array":
            count = int(schema["maxItems"])
            return 2 + count * most_bytes(schema["items"]) + count - 1
    parts = schema["properties"].items()
    return 2 + sum(len(json.dumps(name)) + 1 + most_bytes(part) for name, part in parts) + len(parts) - 1


def faults_of(answer: object, schema: Mapping[str, Any], place: str = "the answer") -> list[str]:
    """Where an answer departs from a schema of these kinds; none where it keeps to it."""
    if "enum" in schema:
        return [] if isinstance(answer, str) and answer in schema["enum"] else [f"{place} is none of the allowed words"]
    fault = ""
    match schema["type"], answer:
        case "integer", int() if not isinstance(answer, bool):
            fault = "" if schema["minimum"] <= answer <= schema["maximum"] else "is out of bounds"
        case "string", str():
            fault = "" if re.fullmatch(schema["pattern"], answer) else "is not a plain bounded sentence"
        case "array", list() if schema.get("minItems", 0) <= len(answer) <= schema["maxItems"]:
            return [fault for entry in answer for fault in faults_of(entry, schema["items"], f"an entry of {place}")]
        case "object", dict() if set(answer) == set(schema["properties"]):
            parts = schema["properties"].items()
            return [fault for name, part in parts for fault in faults_of(answer[name], part, name)]
        case _:
            fault = f"is no {schema['type']} of its size"
    return [f"{place} {fault}"] if fault else []


def _longest(pattern: str) -> int:
    """The characters that a pattern of bounded repetitions matches at most."""
    length = 0
    while pattern:
        part = re.match(r"(\[[^\]]*\]|\((?:[^()\[]|\[[^\]]*\])*\)|.)(?:\{\d+,(\d+)\})?", pattern)
        if part is None:  # pragma: no cover - a dot matches anything
            raise ValueError(pattern)
        one = part[1]
        length += int(part[2] or 1) * (_longest(one[1:-1]) if one.startswith("(") else 1)
        pattern = pattern[part.end() :]
    return length


def _resolved(schema: Any, finding: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any part of a schema
    if isinstance(schema, dict):
        return finding if "$ref" in schema else {name: _resolved(part, finding) for name, part in schema.items()}
    return [_resolved(part, finding) for part in schema] if isinstance(schema, list) else schema
