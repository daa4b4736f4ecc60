"""Operators that break keys, indentation, encoding and structure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import yaml
from mutations import Good, Mutant, operator


@operator
def unknown_key(good: Good) -> Iterator[Mutant]:
    for number, indent in good.entries():
        for key in ("ratoi", "sededs", "提示语", "x-own"):
            data = "\n".join([*good.lines[: number - 1], f"{indent}{key}: 1", *good.lines[number - 1 :]])
            free = [t for t in good.targets if t.key is not None and t.key.start_mark.line == number - 1 and t.is_free]
            if not free:
                yield Mutant("unknown_key", data.encode(), frozenset({number}))


@operator
def misspelt_key(good: Good) -> Iterator[Mutant]:
    for target in good.targets:
        if target.key is not None and not target.is_free and len(target.name) > 2:
            line = int(target.key.start_mark.line) + 1
            for word in (target.name[:-1], target.name + "s", target.name.upper(), target.name.replace("_", "-") + "_"):
                known = word in ("prompts", "prompt", "id")
                if word != target.name and not known:
                    start = target.key.start_mark.column + 1
                    columns = (start, start + len(word) - 1)
                    data = good.replaced(target, word, at_key=True)
                    yield Mutant("misspelt_key", data, frozenset({line}), columns=columns)


@operator
def duplicate_key(good: Good) -> Iterator[Mutant]:
    for number, _ in good.entries():
        lines = [*good.lines[:number], good.lines[number - 1], *good.lines[number:]]
        yield Mutant("duplicate_key", "\n".join(lines).encode(), frozenset({number + 1}))


@operator
def missing_key(good: Good) -> Iterator[Mutant]:
    for target in good.targets:
        if target.path == ("version",):
            head = good.head if good.head != target.line else good.head + 1
            following = range(head - 1, head + 6)  # the first key that is left
            yield Mutant("missing_key", good.with_line(target.line, None), frozenset(following))
        elif target.path == ("jobs",):
            cut = good.text[: target.key.start_mark.index if target.key else 0]
            yield Mutant("missing_key", cut.encode(), frozenset({good.head}))


@operator
def bad_indentation(good: Good) -> Iterator[Mutant]:
    for number, indent in good.entries():
        for wrong in (indent + " ", indent + "  ", indent[:-1]):
            data = good.with_line(number, wrong + good.lines[number - 1].lstrip())
            yield Mutant("bad_indentation", data, frozenset({number}))


@operator
def tab(good: Good) -> Iterator[Mutant]:
    for number, _ in good.entries():
        data = good.with_line(number, "\t" + good.lines[number - 1].lstrip())
        yield Mutant("tab", data, frozenset({number}))


@operator
def glued_colon(good: Good) -> Iterator[Mutant]:
    for number, _ in good.entries():
        for colon in (":", "：", "： "):
            key, _, value = good.lines[number - 1].partition(": ")
            if value[:1] not in "\"'{[" and not value[:1].isdigit():
                yield Mutant("glued_colon", good.with_line(number, key + colon + value), frozenset({number}))


@operator
def full_width_indent(good: Good) -> Iterator[Mutant]:
    for number, indent in good.entries():
        data = good.with_line(number, "\u3000" * (len(indent) // 2 or 1) + good.lines[number - 1].lstrip())
        yield Mutant("full_width_indent", data, frozenset({number}))


@operator
def long_dash(good: Good) -> Iterator[Mutant]:
    for number, line in enumerate(good.lines, 1):
        if line.lstrip().startswith("- "):
            for dash in "–—－":
                yield Mutant("long_dash", good.with_line(number, line.replace("-", dash, 1)), frozenset({number}))


@operator
def truncated(good: Good) -> Iterator[Mutant]:
    for target in good.targets:
        value, quoted = target.value, getattr(target.value, "style", None) in ("'", '"')
        inside = isinstance(value, yaml.CollectionNode) and value.flow_style
        if (quoted or inside) and value.end_mark.index - value.start_mark.index > 3:
            data = good.text[: value.end_mark.index - 1]
            lines = range(value.start_mark.line + 1, data.count("\n") + 3)
            yield Mutant("truncated", data.encode(), frozenset(lines))
        elif target.key is not None and not target.is_free and isinstance(value, yaml.ScalarNode):
            data = good.text[: value.start_mark.index]
            yield Mutant("truncated", data.encode(), frozenset({target.line}))


@operator
def wrong_encoding(good: Good) -> Iterator[Mutant]:
    for codec in ("gbk", "big5", "shift_jis", "latin-1", "utf-16", "utf-16-le", "utf-32"):
        data = good.text.encode(codec, "replace")
        wide = codec.startswith("utf")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = 1 if wide else data[: error.start].count(b"\n") + 1
            yield Mutant("wrong_encoding", data, frozenset({line}))
    raw = good.text.encode()
    at = next((n for n, byte in enumerate(raw) if byte > 0x7F), None)
    if at is not None:
        line = raw[:at].count(b"\n") + 1
        for wrong in (
            raw[:at] + b"\xed\xa0\x80" + raw[at:],
            raw[:at] + raw[at + 1 :],
            raw[:at] + b"\xc0\xaf" + raw[at:],
        ):
            yield Mutant("wrong_encoding", wrong, frozenset({line}))


@operator
def no_manifest_at_all(good: Good) -> Iterator[Mutant]:
    for data in (
        b"",
        b"\n \n",
        b"# a\n",
        b"\xff\xd8\xff\xe0",
        b"PK\x03\x04",
        b"null",
        b"[]",
        b"a",
        b"{}",
        b"jobs",
        b"---\n",
    ):
        yield Mutant("no_manifest_at_all", data, frozenset({1, 2}))
    yield Mutant("no_manifest_at_all", good.text.encode() + b"# " + b"x" * (10 << 20), frozenset({1}))


@operator
def same_id_twice(good: Good) -> Iterator[Mutant]:
    ids = list(good.scalars("id"))
    for first, second in pairwise(ids):
        yield Mutant("same_id_twice", good.replaced(second, first.value.value), frozenset({second.line}))


@operator
def broken_matrix(good: Good) -> Iterator[Mutant]:
    for target in good.targets:
        if len(target.path) == 4 and target.path[2] == "matrix":
            texts = ("std", "[]", "[[a]]", "[{a: b}]", "[~]", "5", "{a: b}")
            repeated = isinstance(target.value, yaml.SequenceNode) and f"[{', '.join(['same'] * 2)}]"
            for text in (
                *texts,
                *([repeated] if repeated and target.name not in ("mode", "duration", "aspect_ratio") else []),
            ):
                yield Mutant("broken_matrix", good.replaced(target, text), frozenset({target.line}))
        if len(target.path) == 5 and target.path[2] == "exclude" and target.key is not None:
            yield Mutant("broken_matrix", good.replaced(target, "nowhere", at_key=True), frozenset({target.line}))
            yield Mutant("broken_matrix", good.replaced(target, "never"), frozenset({target.line}))


@operator
def two_sources(good: Good) -> Iterator[Mutant]:
    for target in good.targets:
        if target.name == "from" and target.key is not None:
            line = int(target.key.start_mark.line) + 1
            for text in ("{csv: shots.csv, chain: {glob: '*.jpg'}}", "{where: {a: b}}", "shots.csv", "[a]", "{}"):
                end = len(good.text[: target.value.end_mark.index].rstrip())
                data = good.text[: target.value.start_mark.index] + text + good.text[end:]
                yield Mutant("two_sources", data.encode(), frozenset({line, target.line}))
