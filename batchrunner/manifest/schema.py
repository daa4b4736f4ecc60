"""The shape of a manifest, as pydantic models: what may be written where, each field with its description.

Rules that need the resolved jobs (defaults, frames, prices) are not here but in `expand` and `manifest`: pydantic skips
cross-field checks as soon as one field is wrong, and all mistakes are to be shown at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PlainValidator, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from batchrunner import moments
from batchrunner.model import AspectRatio, FrameDialect, Mode

ClipMode = Annotated[Mode, Field(strict=False)]  # strict enums would take no text at all
Ratio = Annotated[AspectRatio, Field(strict=False)]
Dialect = Annotated[FrameDialect, Field(strict=False)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Slots = Annotated[int, Field(ge=1, le=1_000)]
Again = Annotated[int, Field(ge=0, le=10)]
PerSecond = Annotated[float, Field(gt=0, le=100_000)]
Price = Annotated[float, Field(ge=0, le=1_000_000)]
Amount = Annotated[float, Field(ge=0, le=1_000_000_000)]
MAX_TAKES = 1_000
LIST, NAMES = "[list]", "[names]"
"""What pydantic puts into the place of a mistake below `prompts`, which has two shapes; no key of a manifest."""


def _scalar(value: object) -> object:
    if not isinstance(value, (str, int, float, bool)):
        raise PydanticCustomError("scalar_type", "one value belongs here")
    return value


Scalar = Annotated[Any, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Scalars = dict[str, Scalar]


def _one_or_more(value: object) -> object:
    return [_scalar(one) for one in value] if isinstance(value, list) else _scalar(value)


ScalarOrList = Annotated[
    Any,
    PlainValidator(_one_or_more),
    WithJsonSchema({"anyOf": [{"type": ["string", "number", "boolean"]}, {"type": "array"}]}),
]


def _time_of_day(value: object) -> object:
    if isinstance(value, str) and (at := moments.time_of_day(value)) is not None:
        return at
    raise PydanticCustomError("time_of_day", "a time of day")


def _length_of_time(value: object) -> object:
    if isinstance(value, str) and (length := moments.length_of_time(value)) is not None:
        return length
    raise PydanticCustomError("length_of_time", "a length of time")


def _window(value: object) -> object:
    if isinstance(value, str) and (hours := moments.window(value)) is not None:
        return hours
    raise PydanticCustomError("window", "the hours of a night")


TimeOfDay = Annotated[Any, PlainValidator(_time_of_day), WithJsonSchema({"type": "string"})]
LengthOfTime = Annotated[Any, PlainValidator(_length_of_time), WithJsonSchema({"type": "string"})]
Window = Annotated[Any, PlainValidator(_window), WithJsonSchema({"type": "string"})]


def _shape(value: object) -> str | None:
    return LIST if isinstance(value, list) else NAMES if isinstance(value, dict) else None


Prompts = Annotated[
    Annotated[list[str], Field(min_length=1), Tag(LIST)] | Annotated[dict[str, str], Field(min_length=1), Tag(NAMES)],
    Discriminator(_shape, custom_error_type="prompts_type", custom_error_message="a list or names"),
]


class Section(BaseModel):
    """What all parts have in common: no unknown keys, no silent conversions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class FramePaths(Section):
    """The first frame of a clip, or its first and last."""

    first: str | None = Field(
        default=None, description="Path below the manifest's folder, or an http(s) URL, of the first frame"
    )
    last: str | None = Field(default=None, description="The same of the last frame; needs `first`")


class Metadata(Section):
    """What is sent as metadata, and notes that are not: the relay merges it into the paid request, so nothing is free."""

    negative_prompt: str | None = Field(default=None, description="What should not be seen, at most 2,500 characters")
    watermark: bool | None = Field(default=None, description="Whether the clip carries a watermark")
    project: str | None = Field(default=None, description="A note for your books, never sent")
    client: str | None = Field(default=None, description="A note for your books, never sent")
    campaign: str | None = Field(default=None, description="A note for your books, never sent")
    owner: str | None = Field(default=None, description="A note for your books, never sent")
    note: str | None = Field(default=None, description="A note for your books, never sent")


class JobOutput(Section):
    """Where one job's clip goes."""

    dir: str | None = Field(
        default=None, description="Folder instead of the batch's; placeholders are filled in, such as out/{client}"
    )
    filename: str | None = Field(
        default=None, description="Path below that folder; {key} {row} {mode} and any variable are filled in"
    )


class Parameters(Section):
    """What a clip is made of; in `defaults` for all jobs, in a job for itself."""

    prompt: str | None = Field(default=None, description="What the clip shows, at most 2,500 characters")
    frames: FramePaths | None = Field(
        default=None, description="First and last frame; replaces the default's frames as a whole"
    )
    mode: ClipMode | None = Field(default=None, description="std (720P) or pro (1080P); default std")
    duration: int | None = Field(default=None, description="Seconds: 5, 10, or 15 without frames; default 5")
    aspect_ratio: Ratio | None = Field(default=None, description="16:9, 9:16 or 1:1; default 16:9")
    audio: bool | None = Field(default=None, description="Whether the clip has sound; default false")
    metadata: Metadata | None = Field(default=None, description="Merged with the default's metadata key by key")
    output: JobOutput | None = Field(default=None, description="Where the clip goes")


class Pairs(Section):
    """First and last frames that belong together by their names."""

    dir: str | None = Field(default=None, description="Folder of the images; default the manifest's")
    first: str = Field(description="Name of a first frame, such as {shot}_first.png; {shot} is bound")
    last: str = Field(description="Name of the last frame that belongs to it, such as {shot}_last.png")
    unpaired: Literal["error", "skip", "first-only"] | None = Field(
        default=None, description="What becomes of a frame without its partner; default error"
    )


class Chain(Section):
    """Keyframes in their natural order: one clip from each to the next."""

    glob: str = Field(description="The keyframes, such as keyframes/*.png")
    loop: bool | None = Field(default=None, description="Whether a last clip leads back to the first keyframe")


class From(Section):
    """Rows: one job, or several, for each."""

    csv: str | None = Field(
        default=None, description="A table with a header, .csv or .tsv, below the manifest's folder"
    )
    jsonl: str | None = Field(default=None, description="A file with one JSON object a line")
    rows: Annotated[list[Scalars], Field(min_length=1)] | None = Field(default=None, description="The rows themselves")
    pairs: Pairs | None = Field(default=None, description="First and last frames that belong together by their names")
    chain: Chain | None = Field(default=None, description="Keyframes: one clip from each to the next")
    where: dict[str, ScalarOrList] | None = Field(
        default=None, description="Only the rows whose columns have these values; a list means any of them"
    )
    columns: dict[str, str] | None = Field(default=None, description="New names for columns, such as {提示词: prompt}")
    encoding: Literal["utf-8", "gb18030", "gbk", "big5", "utf-16"] | None = Field(
        default=None, description="Encoding of the file; default utf-8, or gb18030 where it is not"
    )


class JobEntry(Parameters):
    """One wanted clip, or many."""

    id: str | None = Field(default=None, description="The entry's name, unique; without it names come from the content")
    from_: From | None = Field(default=None, alias="from", description="Rows: one job, or several, for each")
    prompts: Prompts | None = Field(default=None, description="Several prompts: a list, or a name for each")
    matrix: Annotated[dict[str, Annotated[list[Scalar], Field(min_length=1)]], Field(min_length=1)] | None = Field(
        default=None, description="Every combination of these values, of parameters or of new variables"
    )
    exclude: list[Scalars] | None = Field(
        default=None, description="Combinations of the matrix to leave out; a part of one is enough"
    )
    include: list[Scalars] | None = Field(default=None, description="Whole combinations beside those of the matrix")
    takes: Annotated[int, Field(ge=1, le=MAX_TAKES)] | None = Field(
        default=None, description="How many clips of the same request; default 1"
    )
    vars: Scalars | None = Field(default=None, description="Variables of this entry, for placeholders")
    key: str | None = Field(
        default=None, description="Template of the jobs' keys; default id/row/prompt/matrix values/take"
    )
    tags: list[str] | None = Field(default=None, description="Words that --tag selects jobs by")
    priority: Annotated[int, Field(ge=-1000, le=1000)] | None = Field(
        default=None, description="Higher is sent first; default 0"
    )
    enabled: bool | None = Field(default=None, description="Whether the entry counts at all; default true")


class BatchOutput(Section):
    """Where the clips of the batch go."""

    dir: str | None = Field(
        default=None, description="Folder of the clips; {name} and {date} are filled in; default out/{name}"
    )
    filename: str | None = Field(default=None, description="As in a job; default {key}.mp4")


class LimitsSection(Section):
    """What may be going on at once and how fast is asked; rates are per second."""

    max_in_flight: Count | None = Field(default=None, description="Clips being made at once; default 10")
    concurrency: Count | None = Field(default=None, description="Another word for max_in_flight")
    submit_slots: Slots | None = Field(default=None, description="Submissions under way at once; default 4")
    submit_rate: PerSecond | None = Field(default=None, description="Submissions per second")
    submit_burst: Count | None = Field(default=None, description="Submissions at once after a pause")
    query_rate: PerSecond | None = Field(default=None, description="Status questions per second")
    query_burst: Count | None = Field(default=None, description="Status questions at once after a pause")
    poll_floor: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        default=None, description="Seconds between two questions about one clip, at least; default 5"
    )
    downloads: Slots | None = Field(default=None, description="Downloads at once; default 4")
    uploads: Slots | None = Field(default=None, description="Uploads at once; default 2")
    max_jobs: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Jobs that the manifest may ask for; default 100,000, and 1,000 for each row of an entry",
    )
    deadline: TimeOfDay | None = Field(
        default=None,
        description='Time of day, such as "06:30", at which a run ends; clips that could not be there in time are not begun',
    )
    max_duration: LengthOfTime | None = Field(
        default=None, description="How long a run lasts at most, such as 6h; --max-duration goes above it"
    )
    window: Window | None = Field(
        default=None,
        description='Hours in which clips are bought, such as "22:00-06:30"; what is paid for is collected at any time',
    )
    stop_after_failures: Count | None = Field(
        default=None, description="Clips that may fail in a row before a run buys nothing more"
    )
    group: Literal["default", "vip", "svip"] | None = Field(
        default=None, description="The account's group at ToAPIs, which sets the rates that are not given"
    )


class ProviderSection(Section):
    """How requests are worded."""

    frames: Dialect | None = Field(
        default=None, description="urls (image_urls) or roles (image_with_roles); default urls"
    )
    exclusive_key: bool | None = Field(
        default=None, description="Nobody else uses the key, so that whatever the balance moves by is this batch's"
    )


class RetrySection(Section):
    """How often a clip that the provider failed is bought again by itself, each time as a new purchase."""

    capacity: Again | None = Field(
        default=None, description="After a task that found no place at the provider; default 0"
    )
    generation: Again | None = Field(default=None, description="After a task that failed at the provider; default 0")


class PriceTable(Section):
    """A price for each thing that the API page bills."""

    p720: Price | None = Field(default=None, alias="720P", description="mode std")
    p1080: Price | None = Field(default=None, alias="1080P", description="mode pro")
    p720_sound: Price | None = Field(default=None, alias="720P+Sound", description="mode std with audio")
    p1080_sound: Price | None = Field(default=None, alias="1080P+Sound", description="mode pro with audio")


class PricesSection(Section):
    """What clips cost: by the second or by the clip."""

    currency: Annotated[str, Field(pattern=r"^[A-Za-z]{1,10}$")] | None = Field(default=None, description="Default USD")
    per_second: PriceTable | None = Field(default=None, description="Price of one second of clip")
    per_request: PriceTable | None = Field(default=None, description="Price of one clip of any length")


class BudgetSection(Section):
    """What may be spent, in the currency of `prices`; a run needs prices to hold it."""

    max_cost: Amount | None = Field(default=None, description="The batch never spends more than this")
    per_run: Amount | None = Field(default=None, description="One run of the batch never spends more than this")
    per_day: Amount | None = Field(
        default=None, description="All batches of the database together never spend more on one day"
    )
    per_month: Amount | None = Field(
        default=None, description="All batches of the database together never spend more in one month"
    )
    tags: Annotated[dict[str, Amount], Field(min_length=1)] | None = Field(
        default=None, description="What the batch's jobs with a tag may cost together, such as {nightly: 50}"
    )
    warn_at: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Share of a cap, such as 0.8, at which a run says so"
    )


class ManifestFile(Section):
    """A manifest: prompts and frames that become clips."""

    version: Annotated[int, Field(ge=1, le=1)] = Field(description="The language of this file: 1")
    name: str | None = Field(
        default=None,
        description="The batch's name, under which it resumes; {date} is filled in; default the file's name",
    )
    vars: Scalars | None = Field(default=None, description="Variables of all jobs, for placeholders such as {style}")
    defaults: Parameters | None = Field(
        default=None, description="Parameters of every job that does not set them itself"
    )
    output: BatchOutput | None = Field(default=None, description="Where the clips go")
    limits: LimitsSection | None = Field(default=None, description="What may be going on at once")
    provider: ProviderSection | None = Field(default=None, description="How requests are worded")
    prices: PricesSection | None = Field(default=None, description="What clips cost")
    budget: BudgetSection | None = Field(default=None, description="What may be spent")
    on_doubt: Literal["hold", "resend"] | None = Field(
        default=None,
        description="What becomes of a submission that may have been paid for and is not found: hold (for a person, unless "
        "the balance shows that it was not charged; default) or resend (with the same id, without a look at the balance)",
    )
    canary: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None,
        description="Clips of each new kind that must be done and right before the rest of the kind is bought; default 1 for "
        "first and last frames, and for more than 20 jobs of a kind; 0 buys all at once",
    )
    retry: RetrySection | None = Field(default=None, description="What is bought again by itself after a failure")
    jobs: Annotated[list[JobEntry], Field(min_length=1)] = Field(description="The clips to make")
