"""Low-rank matrices beside a language model's frozen weights, trained on lessons, with checkpoints to go on from."""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from models.fitting.films import write
from models.medgemma.in_process import Loaded, chat_inputs  # before torch, see models.checkpoints.loading
from models.training.lessons import Lesson
from worklist.errors import InvalidInput

import torch  # isort: skip
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict  # isort: skip
from safetensors.torch import save  # isort: skip

CHECKPOINT = "training.pt"
_END = "<end_of_turn>"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraRecipe:
    """How an adapter is trained: see medgemma.toml."""

    rank: int
    alpha: int
    dropout: float
    targets: str
    learning_rate: float
    warmup: float
    epochs: int
    batch: int
    max_gradient: float
    checkpoint_every: int
    judged_answers: int
    save_memory: bool
    seed: int

    def __post_init__(self) -> None:
        """Refuse what trains nothing."""
        least = min(self.rank, self.alpha, self.epochs, self.batch, self.checkpoint_every)
        if least < 1 or self.learning_rate <= 0 or self.max_gradient <= 0 or self.judged_answers < 0:
            raise ValueError("rank, alpha, epochs, batch, checkpoint_every are at least 1, learning_rate above 0")
        if not (0 <= self.dropout < 1 and 0 <= self.warmup < 1):
            raise ValueError("dropout and warmup are shares below 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        step: steps that are done.
        losses: of each, mean log loss of a token of the answers.
        before: the same on the films that judge, with the weights as they came.
    """

    step: int
    losses: tuple[float, ...]
    before: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """An adapter in peft's format, and how it came about; `after` is as `Progress.before`."""

    weights: bytes
    config: str
    progress: Progress
    after: float


@dataclass(kw_only=True, slots=True)
class _Course:
    """A model that learns, with all that a checkpoint holds."""

    model: Any
    optimizer: Any
    progress: Progress

    def keep(self, file: Path, made_of: str) -> None:
        """Write a checkpoint.

        Raises:
            PermanentError: disk_full.
        """
        stream = io.BytesIO()
        adapter = _tensors(self.model)
        torch.save(
            {
                "made_of": made_of,
                "adapter": adapter,
                "optimizer": self.optimizer.state_dict(),
                "progress": asdict(self.progress),
            },
            stream,
        )
        write(file, stream.getvalue())

    def take_up(self, file: Path, made_of: str) -> None:
        """Go on from a checkpoint.

        Raises:
            InvalidInput: another_run, it is of other films, labels, weights or another recipe.
        """
        kept = torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
        if kept["made_of"] != made_of:
            raise InvalidInput(
                "another_run",
                f"{file} is of other films, labels, weights or another recipe: remove it, or name another folder",
            )
        set_peft_model_state_dict(self.model, kept["adapter"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.progress = Progress(**kept["progress"])


def train(  # noqa: PLR0913 - what a run is made of
    loaded: Loaded,
    lessons: Sequence[Lesson],
    recipe: LoraRecipe,
    *,
    base: str,
    checkpoint: Path,
    made_of: str,
    shown: Callable[[Sequence[int]], Iterable[int]],
) -> Trained:
    """Train an adapter, or go on with it.

    Args:
        loaded: the frozen model; it has the adapter afterwards.
        lessons: those that teach and those that judge, one of each at least.
        recipe: how.
        base: what the model is called in the adapter's configuration.
        checkpoint: the file to go on from, written as the recipe says.
        made_of: a digest of all that decides the result.
        shown: passes the steps on, and shows how far it has come.

    Raises:
        InvalidInput: another_run.
        PermanentError: disk_full or folder_not_writable.
    """
    teaching = [lesson for lesson in lessons if not lesson.judges]
    judging = [lesson for lesson in lessons if lesson.judges]
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout, bias="none", task_type="CAUSAL_LM",
        target_modules=recipe.targets,
    )  # fmt: skip
    if recipe.save_memory:
        loaded.model.activation_checkpointing_enable({"use_reentrant": False})
        loaded.model.enable_input_require_grads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about a name that peft uses
        model = get_peft_model(loaded.model, config)
    learned = [each for each in model.parameters() if each.requires_grad]
    course = _Course(
        model=model,
        optimizer=torch.optim.AdamW(learned, lr=recipe.learning_rate),
        progress=Progress(step=0, losses=(), before=math.nan),
    )
    if checkpoint.exists():
        course.take_up(checkpoint, made_of)
    else:
        course.progress = replace(course.progress, before=_judged(model, loaded.processor, judging))
    a_round = math.ceil(len(teaching) / recipe.batch)
    steps = a_round * recipe.epochs
    model.train()
    for step in shown(range(course.progress.step, steps)):
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # so that a run that goes on drops what it would have
        order = torch.randperm(len(teaching), generator=torch.Generator().manual_seed(recipe.seed + step // a_round))
        first = step % a_round * recipe.batch
        chosen = [teaching[int(number)] for number in order[first : first + recipe.batch]]
        total = 0.0
        for lesson in chosen:
            loss = _loss(model, loaded.processor, lesson) / len(chosen)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(learned, recipe.max_gradient)
        for group in course.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _share(step, steps, recipe.warmup)
        course.optimizer.step()
        course.optimizer.zero_grad()
        before = course.progress
        course.progress = Progress(step=step + 1, losses=(*before.losses, round(total, 4)), before=before.before)
        if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == steps:
            course.keep(checkpoint, made_of)
    return Trained(
        weights=save(_tensors(model), metadata={"format": "pt"}),
        config=_config_text(model, base),
        progress=course.progress,
        after=_judged(model, loaded.processor, judging),
    )


def _loss(model: Any, processor: Any, lesson: Lesson) -> Any:  # noqa: ANN401 - torch has no types here
    """The mean log loss of the tokens of a lesson's answer."""
    inputs = chat_inputs(processor, lesson.asked()).to(model.device, dtype=model.dtype)
    answer = processor.tokenizer(lesson.answer + _END, add_special_tokens=False, return_tensors="pt").input_ids
    answer = answer.to(model.device)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["token_type_ids"] = torch.cat([inputs["token_type_ids"], torch.zeros_like(answer)], dim=1)
    # Only what the answer is read from: of a vocabulary of 262,144 words all would be a gigabyte.
    logits = model(**inputs, logits_to_keep=answer.shape[1] + 1).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits.float(), answer[0])


def _judged(model: Any, processor: Any, lessons: Sequence[Lesson]) -> float:  # noqa: ANN401
    """The mean loss of lessons that teach nothing."""
    model.eval()
    with torch.inference_mode():
        losses = [float(_loss(model, processor, lesson)) for lesson in lessons]
    return round(sum(losses) / len(losses), 4)


def _share(step: int, steps: int, warmup: float) -> float:
    """Of the learning rate: up in a line over the warm-up, then down in a line to 0."""
    rising = steps * warmup
    return (step + 1) / (rising + 1) if step < rising else (steps - step) / (steps - rising)


def _tensors(model: Any) -> dict[str, Any]:  # noqa: ANN401
    """The adapter's tensors by peft's names."""
    found = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.cpu().contiguous() for name, tensor in found.items()}


def _config_text(model: Any, base: str) -> str:  # noqa: ANN401
    values = model.peft_config["default"].to_dict() | {"base_model_name_or_path": base, "inference_mode": True}
    return json.dumps(values, indent=2, sort_keys=True, default=sorted) + "\n"  # the sets among them
