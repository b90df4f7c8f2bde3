"""Trust policies: every rule of the text form, and the quorum."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import PolicyError
from ledger.notes import CosignatureSigner, Signer
from ledger.policy import parse_policy

LOGS = [Signer.from_seed(f"example.com/log{number}", bytes([number]) * 32) for number in range(40)]
WITNESSES = [CosignatureSigner.from_seed(f"w{number}.example", bytes([100 + number]) * 32) for number in range(40)]
LOG, W1, W2, W3 = LOGS[0].vkey, WITNESSES[1].vkey, WITNESSES[2].vkey, WITNESSES[3].vkey
KEYS = [witness.public for witness in WITNESSES]

EXAMPLE = f"""\
# Two organisations.
log {LOG} https://log.example/prefix#x

witness X1 {WITNESSES[1].vkey}
witness X2 {WITNESSES[2].vkey} https://w2.example/
 \t witness\tX3   {WITNESSES[3].vkey}\t
group X-witnesses 2 X1 X2 X3

witness Y1 {WITNESSES[4].vkey}
witness Y2 {WITNESSES[5].vkey}
witness Y3 {WITNESSES[6].vkey}
group Y-witnesses any Y1 Y2 Y3
   # indented comment \u00e9
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
""".encode()


def policy(*lines):
    return "".join(line + "\n" for line in lines).encode()


def test_the_specifications_example():
    parsed = parse_policy(EXAMPLE)
    assert [known.verifier.name for known in parsed.logs] == ["example.com/log0"]
    assert parsed.logs[0].url == b"https://log.example/prefix#x"
    assert [witness.name for witness in parsed.witnesses] == [b"X1", b"X2", b"X3", b"Y1", b"Y2", b"Y3"]
    assert [(group.threshold, len(group.members)) for group in parsed.groups] == [(2, 3), (1, 3), (2, 2)]
    assert parsed.quorum == b"X-and-Y"


@pytest.mark.parametrize("chosen", [s for n in range(7) for s in itertools.combinations(range(1, 7), n)])
def test_two_of_x_and_one_of_y(chosen):
    enough = len({1, 2, 3} & set(chosen)) >= 2 and bool({4, 5, 6} & set(chosen))
    assert parse_policy(EXAMPLE).satisfied({KEYS[number] for number in chosen}) == enough


def test_one_key_counts_once():
    """The same cosigner twice is one witness; keys of strangers, and the log's, count for nothing."""
    parsed = parse_policy(EXAMPLE)
    assert not parsed.satisfied([KEYS[1], KEYS[1], KEYS[4]])
    assert not parsed.satisfied([KEYS[1], LOGS[0].public, KEYS[30], KEYS[4]])
    assert parsed.satisfied(iter([KEYS[1], KEYS[3], KEYS[30], KEYS[4]]))


def test_quorum_of_one_witness_and_of_none():
    single = parse_policy(policy(f"witness A {W1}", f"witness B {W2}", "quorum B"))
    assert single.satisfied([KEYS[2]])
    assert not single.satisfied([KEYS[1]])
    nobody = parse_policy(policy(f"witness A {W1}", "quorum none"))
    assert nobody.quorum is None
    assert nobody.satisfied([])
    assert parse_policy(b"quorum none\n").logs == ()


def test_logs_are_known_by_origin():
    parsed = parse_policy(policy(f"log {LOG}", f"log {LOGS[1].vkey}", "quorum none"))
    assert parsed.log_keys("example.com/log1") == {LOGS[1].verifier}
    assert parsed.log_keys("example.com/log") == frozenset()
    assert set(parsed.verifiers) == {LOGS[0].verifier, LOGS[1].verifier}


def test_a_log_may_have_several_keys():
    rotated = Signer.from_seed("example.com/log0", bytes([200]) * 32)
    parsed = parse_policy(policy(f"log {LOG}", f"log {rotated.vkey}", "quorum none"))
    assert parsed.log_keys("example.com/log0") == {LOGS[0].verifier, rotated.verifier}


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        (["log"], 1),
        ([f"log {LOG} u v"], 1),
        (["log x"], 1),
        ([f"log {LOG[:-4]}"], 1),
        ([f"log {LOG[:-2]}=="], 1),
        ([f"log {W1}"], 1),  # a log does not sign with a cosignature key
        (["# c", "", f"log {LOG}", f"log {LOG}"], 4),
        ([f"log {LOG}", f"log {Signer.from_seed('other', bytes(32)).vkey}"], 2),
        ([f"witness A {LOG}"], 1),  # nor a witness with a plain one
        ([f"witness {W1}"], 1),
        ([f"witness A {W1} u v"], 1),
        ([f"witness none {W1}"], 1),
        ([f"witness A {W1}", f"witness A {W2}"], 2),
        ([f"witness A {W1}", f"witness B {W1}"], 2),
        ([f"witness A {W1}", f"witness B {CosignatureSigner.from_seed('b', bytes([101]) * 32).vkey}"], 2),
        ([f"witness A {W1}", "group G any"], 2),
        ([f"witness A {W1}", "group G"], 2),
        ([f"witness A {W1}", "group any A"], 2),
        ([f"witness A {W1}", "group none any A"], 2),
        ([f"witness A {W1}", "group A any A"], 2),
        ([f"witness A {W1}", "group G any G"], 2),
        ([f"witness A {W1}", "group G any B", f"witness B {W2}"], 2),
        ([f"witness A {W1}", "group G any none"], 2),
        ([f"witness A {W1}", "group G any A A"], 2),
        ([f"witness A {W1}", "group G any A", "group H any A"], 3),
        ([f"witness A {W1}", "group G any A", f"witness G {W2}"], 3),
        ([f"witness A {W1}", "group G any A", "group G any A"], 3),
        ([f"witness A {W1}", "group G any A", "group H any G", "group I any G"], 4),
        *(
            ([f"witness A {W1}", f"witness B {W2}", f"group G {k} A B"], 3)
            for k in ("0", "3", "-1", "+1", "01", "1.0", "ALL", "\u0661", "1_0", "2\u00b2", str(2**64))
        ),
        (["quorum"], 1),
        (["quorum none none"], 1),
        (["quorum A", f"witness A {W1}"], 1),
        ([f"witness A {W1}", "quorum a"], 2),
        (["quorum none", "quorum none"], 2),
        (["Quorum none"], 1),
        (["quorums none"], 1),
        (["origin example.com/log"], 1),
        (["quorum none\r"], 1),
        (["quorum none\x0b"], 1),
        (["quorum\xa0none".encode().decode("latin-1")], 1),
        (["# a comment with \x7f"], 1),
        (["\x00"], 1),
        (["\x1f# x"], 1),
        (["quorum none # no comments after items"], 1),
    ],
)
def test_broken_lines_are_named(lines, number):
    with pytest.raises(PolicyError, match=rf"^Line {number} of the policy"):
        parse_policy(policy(*lines, "quorum none"))


def test_there_is_exactly_one_quorum_line():
    for text in (b"", b"\n", b"# quorum none\n", policy(f"log {LOG}")):
        with pytest.raises(PolicyError, match="no quorum"):
            parse_policy(text)


def test_the_last_newline_may_be_missing():
    assert parse_policy(EXAMPLE.rstrip(b"\n")) == parse_policy(EXAMPLE)


def test_names_are_opaque_octets():
    """K and the Kelvin sign are different names; invalid UTF-8 is a name; only space and tab divide."""
    text = b"\n".join(
        (
            b"witness K " + W1.encode(),
            b"witness \xe2\x84\xaa " + W2.encode(),
            b"witness \xff\xfe\xc2\xa0x " + W3.encode() + b" \xff",
            b"group \x80 all K \xe2\x84\xaa \xff\xfe\xc2\xa0x",
            b"quorum \x80",
            b"",
        )
    )
    parsed = parse_policy(text)
    assert [witness.name for witness in parsed.witnesses] == [b"K", b"\xe2\x84\xaa", b"\xff\xfe\xc2\xa0x"]
    assert parsed.format() == text
    assert parsed.satisfied(KEYS[1:4])
    assert not parsed.satisfied(KEYS[1:3])


def test_keywords_are_not_reserved_as_names():
    parsed = parse_policy(policy(f"witness all {W1}", f"witness any {W2}", "group group 2 all any", "quorum group"))
    assert parsed.satisfied(KEYS[1:3])


def test_a_key_name_must_be_utf8():
    with pytest.raises(PolicyError, match="Line 1"):
        parse_policy(b"log \xff" + LOG.encode() + b"\nquorum none\n")


def test_a_log_and_a_witness_may_share_a_key():
    """Duplicates are forbidden among logs and among witnesses, not between the two."""
    both = CosignatureSigner.from_seed("w", bytes([0]) * 32)
    assert both.public == LOGS[0].public
    assert parse_policy(policy(f"log {LOG}", f"witness A {both.vkey}", "quorum A")).satisfied([both.public])


def test_at_least_32_of_everything():
    lines = [f"log {log.vkey}" for log in LOGS]
    lines += [f"witness W{number} {witness.vkey}" for number, witness in enumerate(WITNESSES)]
    lines += [f"group G{number} any W{number}" for number in range(40)]
    lines += ["group all 40 " + " ".join(f"G{number}" for number in range(40)), "quorum all"]
    parsed = parse_policy(policy(*lines))
    assert parsed.satisfied(KEYS)
    assert not parsed.satisfied(KEYS[:-1])


def test_a_deep_chain_of_groups_does_not_recurse():
    lines = [f"witness G0 {W1}", *(f"group G{number + 1} any G{number}" for number in range(5000))]
    assert parse_policy(policy(*lines, "quorum G5000")).satisfied([KEYS[1]])


def test_a_policy_has_a_largest_size():
    with pytest.raises(PolicyError, match="longer than"):
        parse_policy(b"#" * 1_048_577)


def test_errors_repeat_nothing_of_the_file():
    with pytest.raises(PolicyError) as caught:
        parse_policy(b"witness secret-name secret-key\nquorum none\n")
    assert "secret" not in str(caught.value)


OCTETS = sorted({*range(0x21, 0x7F), *range(0x80, 0x100)})
NAMES = st.lists(st.sampled_from(OCTETS), min_size=1, max_size=6).map(bytes).filter(lambda name: name != b"none")


@st.composite
def policies(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=7, unique=True))
    witnesses = draw(st.integers(1, len(names)))
    lines = [b"log " + log.vkey.encode() for log in draw(st.lists(st.sampled_from(LOGS), max_size=3, unique=True))]
    lines += [b" ".join((b"witness", name, WITNESSES[at].vkey.encode())) for at, name in enumerate(names[:witnesses])]
    free = list(names[:witnesses])
    for name in names[witnesses:]:
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        free = [member for member in free if member not in members] + [name]
        threshold = draw(st.sampled_from([b"any", b"all", *(str(k + 1).encode() for k in range(len(members)))]))
        lines.append(b" ".join((b"group", name, threshold, *members)))
        if draw(st.booleans()):
            lines.insert(
                draw(st.integers(0, len(lines))), draw(st.sampled_from([b"", b" \t", b"# \xff", b"\t#quorum x"]))
            )
    return b"\n".join([*lines, b"quorum " + draw(st.sampled_from([*names, b"none"])), b""])


@given(policies())
def test_canonical_form_reads_back(text):
    parsed = parse_policy(text)
    canonical = parsed.format()
    assert parse_policy(canonical) == parsed
    assert parse_policy(canonical).format() == canonical


@given(policies(), st.data())
def test_more_cosignatures_never_hurt(text, data):
    parsed = parse_policy(text)
    some = data.draw(st.sets(st.sampled_from(KEYS[:7])))
    more = some | data.draw(st.sets(st.sampled_from(KEYS[:7])))
    assert parsed.satisfied(more) >= parsed.satisfied(some)
    assert parsed.satisfied(KEYS)


WORDS = st.sampled_from(
    [
        b"log",
        b"witness",
        b"group",
        b"quorum",
        b"none",
        b"all",
        b"any",
        b"2",
        b"A",
        b"B",
        b"#",
        b"\n",
        LOG.encode(),
        W1.encode(),
        W2.encode(),
    ]
)


@given(st.binary(max_size=100) | st.lists(WORDS | st.binary(max_size=4), max_size=30).map(b" ".join))
def test_random_policies_raise_only_policy_errors(text):
    try:
        parsed = parse_policy(text)
    except PolicyError:
        return
    assert parse_policy(parsed.format()) == parsed
