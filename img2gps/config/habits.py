"""What people type out of habit: recognised before Hydra parses it, and answered with the remedy.

The habits come from the shell (`~`, spaces), from argparse (`--lr 0.001`), from other libraries
(`learning_rate=`), and from languages that write a comma into 0,001.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from img2gps.config.messages import groups, known_keys
from img2gps.core.errors import BadInput
from img2gps.core.paths import package_folder

# Names in Keras, Lightning, Hugging Face, timm and torchvision's references, by our knob.
_ELSEWHERE = {
    "lr": "learning_rate base_lr init_lr initial_lr lr0 eta optimizer.lr optimizer.learning_rate",
    "batch_size": "batch bs train_batch_size per_device_train_batch_size data.batch_size",
    "val_batch_size": "eval_batch_size test_batch_size per_device_eval_batch_size",
    "max_epochs": "epochs epoch num_epochs n_epochs nb_epochs num_train_epochs trainer.max_epochs "
    "trainer.epochs",
    "seed": "random_seed random_state seed_everything manual_seed",
    "image_size": "img_size imgsz input_size image_resolution resolution crop_size data.image_size",
    "model": "backbone arch architecture net network encoder model_name model_name_or_path",
    "weights": "pretrained model.pretrained model.weights init_weights",
    "optimizer": "optim optimiser opt",
    "optimizer.weight_decay": "weight_decay wd decay l2",
    "optimizer.momentum": "momentum",
    "scheduler": "lr_scheduler lr_scheduler_type schedule sched",
    "scheduler.warmup_epochs": "warmup warmup_epochs",
    "scheduler.step_size": "step_size lr_step_size",
    "scheduler.gamma": "gamma lr_gamma",
    "augmentation": "augment aug augmentations transforms data_augmentation",
    "split.n_val": "n_val val_split validation_split val_size validation_size",
    "split.n_test": "n_test test_split test_size",
    "split.folds": "folds k_folds n_splits",
    "data.root": "data_dir data_path data_root dataset_path image_dir image_folder root photos",
    "data": "dataset",
    "runs.root": "output_dir out_dir save_dir log_dir logdir default_root_dir",
    "study": "experiment experiment_name exp_name run_name",
    "precision": "amp fp16 bf16 mixed_precision trainer.precision",
    "threads": "num_threads n_jobs",
    "trainer.accelerator": "accelerator device",
    "trainer.devices": "devices gpus num_gpus",
    "trainer.gradient_clip_val": "gradient_clip_val clip_grad max_grad_norm",
    "trainer.accumulate_grad_batches": "accumulate_grad_batches gradient_accumulation_steps",
    "logger": "report_to tracker",
}
CHAINED = ("augmentation",)  # groups of which a run may have several choices, in order
SYNONYMS = {name: knob for knob, names in _ELSEWHERE.items() for name in names.split()}
_OPTIONS = (
    *("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p", "--package"),
    *("-r", "--run", "-m", "--multirun", "-sc", "--shell-completion", "-cp", "--config-path"),
    *("-cn", "--config-name", "-cd", "--config-dir", "--experimental-rerun", "-i", "--info"),
)


def read_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line as Hydra reads them: `~` becomes the home folder.

    Raises:
        BadInput: a habit that does not work here; the message has what to write instead.
    """
    for i, word in enumerate(words):
        if word.startswith("-"):
            _check_option(words, i)
            continue
        key, equals, value = word.partition("=")
        if equals:
            _check_name(word, key.lstrip("+"), value)
            _check_decimal_comma(word, key, value)
            _check_list(word, key.lstrip("+"), value)
            _check_data(word, key, value)
            _check_space(words, i)
        else:
            _check_bare_path(words, i)
    return [re.sub(r"(?<=[=,])~(?=/|$)", str(Path.home()), word) for word in words]


def _check_option(words: Sequence[str], i: int) -> None:
    option, equals, value = words[i].partition("=")
    if any(known.startswith(option) for known in _OPTIONS) or re.match(r"-[mrchip]", option):
        return
    name = option.lstrip("-").replace("-", "_")
    knob = SYNONYMS.get(name, name)
    if knob not in known_keys():
        raise BadInput(f"{option}: no such option; knobs are written KEY=VALUE; see --help")
    following = words[i + 1 : i + 2]
    if not equals and following and not following[0].startswith("-") and "=" not in following[0]:
        value = following[0]
    raise BadInput(f"{option}: knobs have no dashes; write {knob}={value or 'VALUE'}")


def _check_name(word: str, key: str, value: str) -> None:
    if key in SYNONYMS and key not in known_keys():
        _instead(word, "no such key", shlex.quote(f"{SYNONYMS[key]}={value}"))


def _check_decimal_comma(word: str, key: str, value: str) -> None:
    """Refuse 0,001. No list of numbers has an element such as 001, and lr=0 is not possible."""
    digits = value.split(",")
    if len(digits) % 2 or not all(part.isdecimal() for part in digits):
        return
    whole, rest = digits[::2], digits[1::2]
    padded = any(len(part) > 1 and part.startswith("0") for part in rest)
    if padded or (key == "lr" and set(whole) == {"0"}):
        meant = ",".join(f"{a}.{b}" for a, b in zip(whole, rest, strict=True))
        _instead(word, "a comma separates values", f"{key}={meant}")


def _check_list(word: str, key: str, value: str) -> None:
    """Refuse several choices in one run: of a group, Hydra would take the last without a word."""
    choices = re.fullmatch(r"\[([^\[\]]+,[^\[\]]+)\]", value)
    if not choices:
        return
    if key == "head":
        together = "+".join(name.strip() for name in choices[1].split(","))
        _instead(word, "heads that answer together are joined by +", f"head={together}")
    if key in groups() and key not in CHAINED:
        each = ",".join(name.strip() for name in choices[1].split(","))
        _instead(word, "a run has one choice; -m tries several", f"-m {key}={each}")


def _check_data(word: str, key: str, value: str) -> None:
    """Refuse a path in place of the kind of data."""
    if key != "data" or (package_folder("conf") / "data" / f"{value}.yaml").is_file():
        return
    path = Path(value).expanduser()
    if "/" in value or value.startswith(("~", ".")) or path.suffix or path.exists():
        _instead(word, "not a kind of data", _data_words(value))


def _check_bare_path(words: Sequence[str], i: int) -> None:
    """Refuse photos that are named without a key, as other commands take them."""
    before = words[i - 1] if i else ""
    if before.startswith("-") and before not in ("-m", "--multirun"):
        return  # the value of an option
    if words[i] and Path(words[i].replace("~/", f"{Path.home()}/", 1)).exists():
        _instead(words[i], "not an override", _data_words(words[i]))


def _data_words(value: str) -> str:
    """Return the overrides that name a folder or a table of photos."""
    kinds = {".csv": "csv", ".tsv": "csv", ".parquet": "huggingface"}
    kind = kinds.get(Path(value).suffix.lower(), "photos")
    return f"data={kind} {_quoted('data.root', value)}"


def _check_space(words: Sequence[str], i: int) -> None:
    """Refuse a path that the shell has split at its spaces."""
    key, _, value = words[i].partition("=")
    rest = [word for word in words[i + 1 :] if "=" not in word and not word.startswith("-")]
    for end in range(1, len(rest) + 1):
        whole = " ".join([value, *rest[:end]])
        if Path(whole).expanduser().exists():
            _instead(f"{key}={whole}", "a path with spaces", _quoted(key, whole))


def override(key: str, value: str) -> str:
    """Return an override that Hydra reads as this text, also with spaces and commas in it.

    >>> override("data.root", "my photos, spring")
    'data.root="my photos, spring"'
    """
    word = re.fullmatch(r"[\w./-]+", value, re.ASCII)
    if word and not re.fullmatch(r"-?(null|true|false|nan|inf|[\d.e_-]+)", value, re.IGNORECASE):
        return f"{key}={value}"
    # In Hydra's quotes a backslash counts only before a quotation mark.
    escaped = re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + ('\\"' if m[2] else ""), value)
    return f'{key}="{escaped}"'


def _quoted(key: str, value: str) -> str:
    """Return an override that the shell and Hydra read as this text."""
    word = override(key, value)
    return shlex.quote(word) if '"' in word else word


def _instead(given: str, why: str, remedy: str) -> NoReturn:
    raise BadInput(f"{given}: {why}; write {remedy}")
