"""Command lines out of habit are answered with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from img2gps.config.habits import SYNONYMS, override, read_words
from img2gps.config.messages import known_keys
from img2gps.core.errors import BadInput


def answer(*words: str) -> str:
    """The message that a command line gets."""
    with pytest.raises(BadInput) as caught:
        read_words(words)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("learning_rate=0.1", "no such key; write lr=0.1"),
        ("epochs=3", "no such key; write max_epochs=3"),
        ("trainer.max_epochs=3,5", "no such key; write max_epochs=3,5"),
        ("+weight_decay=0.1", "no such key; write optimizer.weight_decay=0.1"),
        ("lr=0,001", "a comma separates values; write lr=0.001"),
        ("lr=0,001,0,003", "a comma separates values; write lr=0.001,0.003"),
        ("lr=0,1", "a comma separates values; write lr=0.1"),
        ("scheduler.gamma=1,05", "a comma separates values; write scheduler.gamma=1.05"),
        ("model=[a,b]", "a run has one choice; -m tries several; write -m model=a,b"),
        (
            "loss=[l2_m, mse]",
            "a run has one choice; -m tries several; write -m loss=l2_m,mse",
        ),
        ("head=[linear,mlp]", "heads that answer together are joined by +; write head=linear+mlp"),
        ("data=/x/photos", "not a kind of data; write data=photos data.root=/x/photos"),
        ("data=~/a b", "not a kind of data; write data=photos 'data.root=\"~/a b\"'"),
        ("data=photos.csv", "not a kind of data; write data=csv data.root=photos.csv"),
    ],
)
def test_a_habit_is_answered_with_what_to_write(word: str, remedy: str) -> None:
    assert answer("-m", word, "seed=1") == f"{word}: {remedy}"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--lr 0.001", "--lr: knobs have no dashes; write lr=0.001"),
        ("--lr=0.001 seed=1", "--lr: knobs have no dashes; write lr=0.001"),
        ("--learning-rate 1e-3 seed=1", "--learning-rate: knobs have no dashes; write lr=1e-3"),
        ("--max-epochs", "--max-epochs: knobs have no dashes; write max_epochs=VALUE"),
        ("--foo 3", "--foo: no such option; knobs are written KEY=VALUE; see --help"),
    ],
)
def test_options_are_answered_with_the_knob(words: str, line: str) -> None:
    assert answer(*words.split()) == line


def test_a_path_that_the_shell_has_split_is_put_together_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my own photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert answer("data=photos", "data.root=my", "own", "photos") == (
        "data.root=my own photos: a path with spaces; write 'data.root=\"my own photos\"'"
    )


@pytest.mark.parametrize("word", ["quad 2", "spring.csv", "./"])
def test_photos_in_place_of_an_override_are_answered_with_one(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quad 2").mkdir()
    (tmp_path / "spring.csv").touch()
    monkeypatch.chdir(tmp_path)
    kind = "csv" if word.endswith(".csv") else "photos"
    words = f"data={kind} " + ("'data.root=\"quad 2\"'" if " " in word else f"data.root={word}")
    assert answer("-m", word) == f"{word}: not an override; write {words}"
    assert answer(f"data={word}") == f"data={word}: not a kind of data; write {words}"


def test_a_folder_called_like_a_kind_of_data_or_named_by_an_option_is_no_habit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quad").mkdir()
    monkeypatch.chdir(tmp_path)
    line = ["--config-dir", "quad", "data=quad"]
    assert read_words(line) == line


@pytest.mark.parametrize(
    "line",
    [
        "-m lr=0.001,0.003 seed=0,1 batch_size=8,16",
        "-m seed=0,1,2,10 split.fold=0,1",
        "-m split.n_val=0,60 optimizer.weight_decay=0,1",
        "data=photos data.root=/x/photos --cfg job",
        "--config-dir conf model=mine",
        "--multirun sweeps=table1",
        "+metrics.mine._target_=package.function",
        "augmentation=[crop,colour] trainer.betas=[0.9,0.99] model=[mine]",
        "~trainer",
    ],
)
def test_what_hydra_reads_is_left_as_it_is(line: str) -> None:
    assert read_words(line.split()) == line.split()


def test_the_home_folder_may_be_written_as_in_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    words = ["data=photos", "data.root=~/a,~/b", "weights=~/w.pth"]
    read = ["data=photos", "data.root=/home/me/a,/home/me/b", "weights=/home/me/w.pth"]
    assert read_words(words) == read


def test_every_synonym_is_unknown_and_names_a_knob() -> None:
    assert set(SYNONYMS.values()) <= set(known_keys())
    assert not SYNONYMS.keys() & set(known_keys())


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_any_text_survives_as_an_override(text: str) -> None:
    parsed = OverridesParser.create().parse_override(override("data.root", text))
    assert str(parsed.value()) == text
