"""YAML text to plain values, keeping the place of every key and value.

Three passes: a flat scan of events (the C composer crashes on deep nesting, and hostile files must stay cheap), the C
composer, and a conversion that shares what aliases share. Duplicate keys are refused, merge keys and anchors work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

import yaml

from batchrunner.diagnostic import Diagnostic, Severity
from batchrunner.errors import ManifestError
from batchrunner.manifest import lookalikes, resume, traps
from batchrunner.manifest.scalars import ALLOWED_TAGS, MERGE, STR, CoreLoader, construct
from batchrunner.manifest.source import Loc, Source, Span

MAX_DEPTH = 40
"""The language needs seven levels; the C composer recurses and would overflow its stack."""
MAX_EVENTS = 500_000
"""Of what is written beside the jobs; each event costs time and memory whatever its size in the file."""
JOB_EVENTS, MAX_WRITTEN = 14, 100_000
"""So many more for each mapping in a list of the root, up to so many of them: a job with six keys and their values."""
MAX_PROBLEMS = 1_000
"""More are not worth anybody's time, nor the seconds that they take."""
EXPANSION_FACTOR, EXPANSION_FLOOR = 10, 10_000
"""Aliases and merges may repeat at most ten times what the file holds, and always 10,000 values."""

Pairs = dict[str, tuple[yaml.Node, yaml.Node]]


@dataclass(slots=True)
class Document:
    """The values of a manifest and where each of them stands."""

    source: Source
    value: object
    problems: list[Diagnostic]
    """What was wrong and could be read on; errors among them stop the command."""
    root: yaml.Node
    pairs: dict[int, Pairs]
    """For each mapping, by identity, its keys after merging."""

    def trace(self, loc: Loc) -> tuple[Loc, yaml.Node | None, yaml.Node]:
        """The longest part of `loc` that is in the file, with its key (None in a list) and its value."""
        key: yaml.Node | None = None
        node = self.root
        for depth, step in enumerate(loc):
            if isinstance(node, yaml.MappingNode) and isinstance(step, str):
                found = self.pairs.get(id(node), {}).get(step)
                if found is None:
                    return loc[:depth], key, node
                key, node = found
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                key, node = None, node.value[step]
            else:
                return loc[:depth], key, node
        return loc, key, node

    def has(self, loc: Loc) -> bool:
        """Whether the file holds a value at `loc`."""
        return self.trace(loc)[0] == loc

    def value_span(self, loc: Loc) -> Span:
        """Where the value at `loc` stands; of its nearest parent when it is not in the file, of its key when empty."""
        _, key, node = self.trace(loc)
        span = _span(node)
        if span.start == span.end and key is not None:
            return _span(key)
        if span.start == span.end > 0 and self.source.text[span.start - 1] == "-":  # an empty item: its dash
            return Span(span.start - 1, span.end)
        return span

    def key_span(self, loc: Loc) -> Span:
        """Where the key at `loc` stands; its value where there is no key."""
        found, key, node = self.trace(loc)
        return _span(key) if key is not None and found == loc else _span(node)

    def text(self, loc: Loc) -> str:
        """The characters of the scalar at `loc`, empty for anything else."""
        node = self.trace(loc)[2]
        return node.value if isinstance(node, yaml.ScalarNode) else ""

    def quoted(self, loc: Loc) -> str:
        """The quote character of the scalar at `loc`; empty when it is plain."""
        return getattr(self.trace(loc)[2], "style", None) or ""


def read(source: Source) -> Document:
    """Read one document; `ManifestError` when it is not YAML or not safe to read."""
    try:
        scan = _scan(source)
        root = yaml.compose(source.text, Loader=CoreLoader)
    except yaml.YAMLError as error:
        raise ManifestError(lookalikes.of_file(resume.all_errors(error, source), source)) from None
    except (RecursionError, ValueError, OverflowError, MemoryError) as error:
        message = f"this file cannot be read as YAML: {error}"
        raise ManifestError([source.diagnostic("YAML001", message, None)]) from None
    if root is None:
        help = "begin with `version: 1` and a list of `jobs:`"
        raise ManifestError([source.diagnostic("YAML001", "the manifest holds only comments", None, help=help)])
    converter = _Converter(source, nodes=scan.nodes, problems=scan.problems)
    value = converter.build(root).value
    return Document(source=source, value=value, problems=converter.problems, root=root, pairs=converter.pairs)


@dataclass(slots=True)
class _Scan:
    """What the flat pass over the events found."""

    source: Source
    nodes: int = 0
    problems: list[Diagnostic] = field(default_factory=list)
    anchors: dict[str, Span] = field(default_factory=dict)
    aliases: set[str] = field(default_factory=set)

    def refuse(self, code: str, message: str, event: yaml.Event, help: str) -> ManifestError:
        return ManifestError([*self.problems, self.source.diagnostic(code, message, _span(event), help=help)])

    def check_tag(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in ALLOWED_TAGS:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            message = f"the tag `{shown}` is not allowed"
            help = "if it is the beginning of a text, quote the whole text; otherwise delete it"
            raise self.refuse("YAML008", message, event, help)

    def unused_anchors(self) -> list[Diagnostic]:
        return [
            self.source.diagnostic(
                "YAML010",
                f"`&{name}` names this value for YAML and is NOT part of the text",
                span,
                help="quote the whole text if you meant it, or delete the name, since nothing uses it",
                severity=Severity.WARNING,
            )
            for name, span in islice(self.anchors.items(), MAX_PROBLEMS)
            if name not in self.aliases
        ]


@dataclass(slots=True)
class _Room:
    """How many events there may be: jobs that are written out bring their own, up to what a manifest may ask for."""

    events: int
    _written: int = 0
    _in_list: bool = False

    def entered(self, event: yaml.CollectionStartEvent, depth: int) -> None:
        """A mapping or a list begins, so many levels down."""
        if depth == 2:
            self._in_list = isinstance(event, yaml.SequenceStartEvent)
        elif depth == 3 and self._in_list and isinstance(event, yaml.MappingStartEvent) and self._written < MAX_WRITTEN:
            self._written += 1
            self.events += JOB_EVENTS


def _scan(source: Source) -> _Scan:
    """Bound depth, size and kinds of everything before anything is composed."""
    scan = _Scan(source)
    depth = documents = 0
    room = _Room(MAX_EVENTS)
    for count, event in enumerate(yaml.parse(source.text, Loader=CoreLoader)):
        if count > room.events:
            message = f"the manifest has more than {room.events:,} values"
            raise scan.refuse("YAML004", message, event, "write the jobs as rows of a table: `from: {csv: shots.csv}`")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            room.entered(event, depth)
            if depth > MAX_DEPTH:
                raise scan.refuse(
                    "YAML005", f"the nesting is deeper than {MAX_DEPTH} levels", event, "a manifest needs seven"
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                help = "keep one document; a line of `---` begins another"
                raise scan.refuse("YAML009", "this file holds several documents", event, help)
        if isinstance(event, yaml.NodeEvent):
            scan.nodes += 1
            _note(scan, event)
    scan.problems.extend(scan.unused_anchors())
    return scan


def _note(scan: _Scan, event: yaml.NodeEvent) -> None:
    if isinstance(event, yaml.AliasEvent):
        scan.aliases.add(str(event.anchor))
        return
    scan.check_tag(event)
    if isinstance(event, yaml.ScalarEvent) and event.anchor is not None and not event.style and event.value:
        scan.anchors[event.anchor] = _span(event)


@dataclass(slots=True)
class _Built:
    value: object
    size: int = 1
    """Values in it, with everything that aliases repeat."""
    height: int = 1


class _Converter:
    """Nodes to values. Each node is converted once and shared, so that an alias bomb costs no memory here."""

    def __init__(self, source: Source, *, nodes: int, problems: list[Diagnostic]) -> None:
        self.source = source
        self.problems = problems
        self.pairs: dict[int, Pairs] = {}
        self._budget = EXPANSION_FACTOR * nodes + EXPANSION_FLOOR
        self._merged = 0
        self._built: dict[int, _Built | None] = {}

    def build(self, node: yaml.Node) -> _Built:
        if isinstance(node, yaml.ScalarNode):
            return _Built(self._scalar(node))
        known = self._built.get(id(node))
        if known is None and id(node) in self._built:
            raise self._refuse("YAML015", "this alias stands inside the value that it names", node, "write it out")
        if known is not None:
            return known
        self._built[id(node)] = None
        built = self._mapping(node) if isinstance(node, yaml.MappingNode) else self._sequence(node)
        if built.size > self._budget:
            message = f"with its aliases written out, this file holds more than {self._budget:,} values"
            raise self._refuse("YAML006", message, node, "repeat less, or split the manifest")
        if built.height > MAX_DEPTH:
            raise self._refuse("YAML005", f"the nesting is deeper than {MAX_DEPTH} levels", node, "use fewer aliases")
        self._built[id(node)] = built
        return built

    def _sequence(self, node: yaml.Node) -> _Built:
        items = [self.build(item) for item in node.value]
        return _Built(
            [item.value for item in items],
            1 + sum(item.size for item in items),
            1 + max((item.height for item in items), default=0),
        )

    def _mapping(self, node: yaml.Node) -> _Built:
        own: Pairs = {}
        merges: list[tuple[yaml.Node, yaml.Node]] = []
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key == MERGE and not key_node.style:
                merges.append((key_node, value_node))
            elif key in own:
                self._duplicate(key, key_node, own[key][0])
            elif key is not None:
                own[key] = (key_node, value_node)
                self.problems.extend(traps.cut_text(self.source, key, value_node))
                self.problems.extend(lookalikes.placeholders(self.source, value_node))
        pairs = own
        if merges:
            for again, _ in merges[1:]:
                self._duplicate(MERGE, again, merges[0][0])
            pairs = self._merge(merges[0][1]) | own
        self.pairs[id(node)] = pairs
        items = {key: self.build(value_node) for key, (_, value_node) in pairs.items()}
        return _Built(
            {key: item.value for key, item in items.items()},
            1 + sum(item.size for item in items.values()),
            1 + max((item.height for item in items.values()), default=0),
        )

    def _merge(self, node: yaml.Node) -> Pairs:
        """The keys that `<<` brings in; of several mappings the first one wins, as YAML's merge says."""
        merged: Pairs = {}
        for mapping in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(mapping, yaml.MappingNode):
                self._report("YAML012", "`<<` merges mappings, this is something else", mapping, "write `<<: *name`")
                continue
            self.build(mapping)
            pairs = self.pairs[id(mapping)]
            self._merged += len(pairs)
            if self._merged > self._budget:
                raise self._refuse("YAML006", "the merges of this file repeat too much", mapping, "merge less")
            merged |= pairs
        return merged

    def _key(self, node: yaml.Node) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            help = "a text that begins with { or [ must be quoted"
            self._report("YAML011", "a list or a mapping cannot be a key", node, help)
            return None
        text: str = node.value
        if node.tag != STR:
            shown = text or "nothing"
            self._report("YAML011", f"a key is text, `{shown}` is not", node, f'quote it: "{text}"')
        return text

    def _scalar(self, node: yaml.ScalarNode) -> object:
        if node.tag == STR:
            return node.value
        try:
            return construct(node.tag, node.value)
        except ValueError as error:
            self._report("YAML013", str(error), node, "quote it if it is text")
            return node.value

    def _duplicate(self, key: str, node: yaml.Node, first: yaml.Node) -> None:
        before = self.source.place(_span(first))
        if key == MERGE:
            help = f"the first is at {before}; merge several at once with `<<: [*one, *other]`"
        else:
            help = f"first set at {before}; YAML would silently keep only the last one"
        self._report("YAML002", f"duplicate key `{key}`", node, help)

    def _report(self, code: str, message: str, node: yaml.Node, help: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(self.source.diagnostic(code, message, _span(node), help=help))

    def _refuse(self, code: str, message: str, node: yaml.Node, help: str) -> ManifestError:
        return ManifestError([*self.problems, self.source.diagnostic(code, message, _span(node), help=help)])


def _span(marked: yaml.Node | yaml.Event) -> Span:
    start, end = marked.start_mark, marked.end_mark
    return Span(start.index if start else 0, end.index if end else 0)
