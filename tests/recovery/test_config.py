"""tocsin.toml: what is written is read back, and what other parts keep there survives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.config import Config, KeyPeriod, NextKey, Restored, format_config, parse_config
from ledger.errors import ConfigError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
leaves = st.one_of(texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
sections = st.dictionaries(texts, values, max_size=3)
known = {"ledger", "key", "next_key", "restored", "instance"}
others = st.dictionaries(texts.filter(lambda name: name not in known), values | sections, max_size=3)
sizes = st.integers(0, 2**53)
periods = st.builds(KeyPeriod, texts, sizes, st.none() | sizes)
configs = st.builds(
    lambda keys, **rest: Config(vkey=keys[-1].vkey, keys=tuple(keys), **rest),
    keys=st.lists(periods, min_size=2, max_size=4),
    origin=texts,
    signing_key=texts,
    vault_key=texts,
    next_key=st.none() | st.builds(NextKey, texts, texts),
    restored=st.none() | st.builds(Restored, texts, sizes, texts, texts, texts),
    instance=texts,
    others=others,
)


@given(configs)
def test_what_is_written_is_read_back(config):
    assert parse_config(format_config(config), "x") == config


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[ledger]\norigin = 'a'\n",
        "[ledger]\norigin='a'\nvkey='v'\nsigning_key='s'\nvault_key='k'\n[[key]]\nvkey='other'\nfrom=0\n",
        "[ledger]\norigin='a'\nvkey='v'\nsigning_key='s'\nvault_key='k'\n[[key]]\nvkey='v'\n",
        "[ledger]\norigin='a'\nvkey='v'\nsigning_key='s'\nvault_key='k'\n[[key]]\nvkey='v'\nfrom='0'\n",
        "[ledger]\norigin='a'\nvkey='v'\nsigning_key='s'\nvault_key='k'\n[next_key]\nvkey='v'\n",
        "key = 3\n[ledger]\norigin='a'\nvkey='v'\nsigning_key='s'\nvault_key='k'\n",
        "instance = 3\n[ledger]\norigin='a'\nvkey='v'\nsigning_key='s'\nvault_key='k'\n",
        "restored = 'x'\n[ledger]\norigin='a'\nvkey='v'\nsigning_key='s'\nvault_key='k'\n",
        "not toml",
    ],
)
def test_a_malformed_file_is_refused(text):
    with pytest.raises(ConfigError):
        parse_config(text, "x")


def test_a_first_file_says_no_more_than_it_must():
    text = format_config(Config("a.example/b", "v", "file:s", "file:k", (KeyPeriod("v", 0),)))
    assert "[[key]]" not in text
    assert parse_config(text, "x").keys == (KeyPeriod("v", 0),)
