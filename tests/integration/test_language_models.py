"""The language model for real, on a stand-in of MedGemma: in process, by llama.cpp, and by a server without a schema.

What a stand-in says means nothing, so the layers refuse it and the template explains; that it says it in the schema's
form, every time, is what is tested.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from firstread.compose_worker import build_explainer, build_worker_app
from firstread.settings import Settings
from models.checkpoints.known import MEDGEMMA
from models.checkpoints.manifest import STAND_IN, pin
from models.context import StudyContext
from models.medgemma.answer import BadAnswer, read_answer
from models.medgemma.explainer import MedGemmaExplainer
from models.medgemma.film import show_film
from models.medgemma.notes import NoteSummarizer
from models.medgemma.prompt import load_prompt
from models.medgemma.question import Patience, Question
from models.medgemma.server import OpenAiServer
from models.safety.input_gate import admit
from tests.language_films import LanguageStudy, explainer_at
from tests.language_servers import MODEL, llama_server, transformers_server
from tests.licensed import require_models
from worklist.account import Layer, Verdict
from worklist.errors import ModelUnavailable, NoLongerWanted
from worklist.finding import Analysis
from worklist.job import Queue
from worklist.notes.reading import read_note

require_models()

from models.medgemma.in_process import InProcessModel  # noqa: E402 - it needs the extra
from tests.gguf_stand_in import write_gguf  # noqa: E402

PROMPT = load_prompt()
STUDY = LanguageStudy()
FILM = show_film(STUDY.radiograph(STUDY.analysis.image))
ATTACKS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "unit" / "attacks.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def in_process(stand_ins: Path) -> InProcessModel:
    """The stand-in, loaded by the code that loads the real one."""
    return InProcessModel(stand_ins / "medgemma")


@pytest.fixture(scope="module")
def llama_url(stand_ins: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama.cpp's server on the same stand-in."""
    model, encoder = write_gguf(stand_ins / "medgemma", tmp_path_factory.mktemp("gguf"))
    with llama_server(model, encoder) as url:
        yield url


def question(*data: str, max_tokens: int = PROMPT.max_tokens) -> Question:
    """What is asked of the study."""
    text = PROMPT.question(scores=["pleural effusion likely, left"], data=data, has_prior_film=False)
    return Question(
        system=PROMPT.system, images=(FILM.picture,), text=text, schema=PROMPT.schema, max_tokens=max_tokens
    )


def patience(seconds: float = 200, why_unwanted: Callable[[], str] = lambda: "") -> Patience:
    """As long as no machine is too slow."""
    return Patience(until=time.monotonic() + seconds, why_unwanted=why_unwanted)


def refused_by_the_layers(explained: Analysis) -> None:
    """The model's words reached the layers, both times in the form of the schema, and the template explained."""
    assert explained.account is not None
    checks = explained.account.checks
    schema = [check.verdict for check in checks if check.layer is Layer.SCHEMA]
    assert schema == [Verdict.PASSED, Verdict.PASSED]
    assert "refused twice" in explained.account.why
    assert explained.findings == STUDY.analysis.findings


def test_the_checkpoint_answers_by_the_schema_in_process(in_process: InProcessModel) -> None:
    """Two answers, both complete and of the schema; the signature is the checkpoint's."""
    refused_by_the_layers(STUDY.explained(MedGemmaExplainer(in_process, time_limit_s=280)))
    algorithm = in_process.algorithm
    assert (algorithm.name, algorithm.version) == ("medgemma-stand-in", "stand-in, bfloat16")
    assert len(algorithm.sha256) == 64


def test_notes_are_answered_by_their_schema(in_process: InProcessModel, llama_url: str) -> None:
    """In process and by a server: each answer is complete, the layers refuse what means nothing, the rules stand."""
    note = read_note("71-year-old woman with fever and cough, ?pneumonia. RR 32, BP 88/52.")
    for model in (in_process, OpenAiServer(llama_url, MODEL)):
        answer = NoteSummarizer(model, time_limit_s=280).answer(note)
        schema = [one["verdict"] for one in answer["checks"] if one["layer"] == Layer.SCHEMA]
        assert schema == [Verdict.PASSED, Verdict.PASSED]
        assert answer["summary"] is None
        assert "refused twice" in answer["why"]


def test_an_answer_in_process_ends_with_its_purpose(
    in_process: InProcessModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time that it may take, or once it is of no use any more, however far it is."""
    monkeypatch.setattr("models.medgemma.in_process._LOOK_S", 0.0)  # at each token, however fast the machine
    looks = count()

    def read_meanwhile() -> str:
        return "the study has been read" if next(looks) > 2 else ""

    with pytest.raises(NoLongerWanted):
        in_process.answer(question(), patience(why_unwanted=read_meanwhile))
    assert next(looks) == 4
    with pytest.raises(ModelUnavailable) as late:
        in_process.answer(question(), patience(0.01))
    assert late.value.code == "explainer_timeout"


def test_a_film_that_does_not_fit_into_memory_is_told(
    in_process: InProcessModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graphics card's refusal is a failure of that name, and the template explains."""
    import torch  # noqa: PLC0415 - only here

    def refuse(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(in_process._decoder, "read", refuse)  # noqa: SLF001 - the card itself cannot be filled here
    explained = STUDY.explained(MedGemmaExplainer(in_process, time_limit_s=60, rest_s=0))
    assert explained.account is not None
    assert "too little memory" in explained.account.why


def test_every_attack_is_answered_by_the_schema(llama_url: str) -> None:
    """llama.cpp holds to the same schema, whatever stands among the data: all of it parses, none of it ends early."""
    model = OpenAiServer(llama_url, MODEL)
    assert model.check().startswith(MODEL)
    for attack in ATTACKS:
        lines = admit(attack["text"] if attack["channel"] == "reason" else "Cough", (("1.2.9", attack["text"]),)).lines
        text = model.answer(question(*(line.shown for line in lines)), patience())
        assert read_answer(text, PROMPT, FILM)


def test_an_attack_that_passed_the_gate_raw_is_answered_by_the_schema(llama_url: str) -> None:
    """Also without any gate the schema is the server's own, not the text's."""
    model = OpenAiServer(llama_url, MODEL)
    for attack in ATTACKS[:12]:
        assert read_answer(model.answer(question(attack["text"]), patience()), PROMPT, FILM)


def test_the_whole_explainer_by_llama_cpp(llama_url: str) -> None:
    """Film, question, schema and layers with a real server."""
    refused_by_the_layers(STUDY.explained(explainer_at(llama_url, time_limit_s=280), StudyContext(reason="Cough.")))


def test_what_llama_cpp_refuses_is_told(llama_url: str) -> None:
    """Too long a question is its refusal by name; too few tokens are half a JSON, which the schema layer refuses."""
    model = OpenAiServer(llama_url, MODEL)
    with pytest.raises(ModelUnavailable, match="exceed_context_size_error") as refused:
        model.answer(question("effusion " * 20_000), patience())
    assert refused.value.code == "explainer_refused"
    with pytest.raises(BadAnswer, match="not one JSON object"):
        read_answer(model.answer(question(max_tokens=5), patience()), PROMPT, FILM)


@pytest.mark.skipif(find_spec("openai") is None, reason="transformers[serving] is not installed: make setup-models")
def test_a_server_that_passes_over_the_schema_is_noticed(stand_ins: Path) -> None:
    """`transformers serve` answers nonsense to the same question, and the schema layer refuses it."""
    folder = stand_ins / "medgemma"
    with transformers_server(folder) as url:
        text = OpenAiServer(url, str(folder)).answer(question(max_tokens=24), patience())
    with pytest.raises(BadAnswer):
        read_answer(text, PROMPT, FILM)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "file_missing"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "file_size"),
        (lambda folder: (folder / "manifest.json").unlink(), "not_pinned"),
        (shutil.rmtree, "model_folder_missing"),
    ],
)
def test_a_worker_without_the_right_checkpoint_does_not_start(
    stand_ins: Path, tmp_path: Path, migrated_sqlite: bytes, spoil: Callable[[Path], object], code: str
) -> None:
    """A missing or foreign file ends the worker of the slow path at once, with one line that says what to do."""
    database = tmp_path / "firstread.db"
    database.write_bytes(migrated_sqlite)
    shutil.copytree(stand_ins / "medgemma", tmp_path / "models" / "medgemma")
    spoil(tmp_path / "models" / "medgemma")
    settings = Settings(explainer="medgemma", model_dir=tmp_path / "models", database_url=f"sqlite:///{database}")
    with pytest.raises(ModelUnavailable) as refused:
        build_worker_app(settings, [Queue.REPORT])
    assert refused.value.code == code
    assert "\n" not in refused.value.message


def test_a_tokenizer_of_another_model_is_refused(stand_ins: Path, tmp_path: Path) -> None:
    """Its numbers would be other words to the model, and a film none of its images."""
    folder = Path(shutil.copytree(stand_ins / "medgemma", tmp_path / "medgemma"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["image_token_index"] -= 1
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    pin(folder, MEDGEMMA, STAND_IN)
    settings = Settings(explainer="medgemma", model_dir=tmp_path)
    with pytest.raises(ModelUnavailable, match="is of another model") as refused:
        build_explainer(settings)
    assert refused.value.code == "tokenizer_differs"


def test_four_bits_without_their_library_are_told(stand_ins: Path) -> None:
    """The message says what to install."""
    if find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    settings = Settings(explainer="medgemma", model_dir=stand_ins, explainer_precision="4bit")
    with pytest.raises(ModelUnavailable, match="pip install bitsandbytes"):
        build_explainer(settings)
