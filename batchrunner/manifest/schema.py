"""The shape of a manifest, as pydantic models: what may be written where, each field with its description.

Rules that need the resolved jobs (defaults, frames, prices) are not here but in `expand` and `manifest`: pydantic skips
cross-field checks as soon as one field is wrong, and all mistakes are to be shown at once.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from batchrunner.model import AspectRatio, FrameDialect, Mode

ClipMode = Annotated[Mode, Field(strict=False)]  # strict enums would take no text at all
Ratio = Annotated[AspectRatio, Field(strict=False)]
Dialect = Annotated[FrameDialect, Field(strict=False)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Slots = Annotated[int, Field(ge=1, le=1_000)]
PerSecond = Annotated[float, Field(gt=0, le=100_000)]
Price = Annotated[float, Field(ge=0, le=1_000_000)]


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
    """The only metadata that is sent: the relay merges it into the paid request, so free keys could change the price."""

    negative_prompt: str | None = Field(default=None, description="What should not be seen, at most 2,500 characters")
    watermark: bool | None = Field(default=None, description="Whether the clip carries a watermark")


class JobOutput(Section):
    """Where one job's clip goes."""

    filename: str | None = Field(
        default=None,
        description="Path below the output folder; {name} {key} {id} {mode} {duration} {aspect_ratio} are filled in",
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


class JobEntry(Parameters):
    """One wanted clip."""

    id: str | None = Field(
        default=None, description="The job's name, unique; without it the name comes from the content"
    )


class BatchOutput(Section):
    """Where the clips of the batch go."""

    dir: str | None = Field(default=None, description="Folder of the clips; {name} is filled in; default out/{name}")
    filename: str | None = Field(default=None, description="As in a job; default {key}.mp4")


class LimitsSection(Section):
    """What may be going on at once and how fast is asked; rates are per second."""

    max_in_flight: Count | None = Field(default=None, description="Clips being made at once; default 10")
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
    group: Literal["default", "vip", "svip"] | None = Field(
        default=None, description="The account's group at ToAPIs, which sets the rates that are not given"
    )


class ProviderSection(Section):
    """How requests are worded."""

    frames: Dialect | None = Field(
        default=None, description="urls (image_urls) or roles (image_with_roles); default urls"
    )


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
    """What may be spent; needs prices."""

    max_cost: Annotated[float, Field(ge=0, le=1_000_000_000)] | None = Field(
        default=None, description="The batch never spends more than this, in the currency of `prices`"
    )


class ManifestFile(Section):
    """A manifest: prompts and frames that become clips."""

    version: Annotated[int, Field(ge=1, le=1)] = Field(description="The language of this file: 1")
    name: str | None = Field(
        default=None, description="The batch's name, under which it resumes; default the file's name"
    )
    defaults: Parameters | None = Field(
        default=None, description="Parameters of every job that does not set them itself"
    )
    output: BatchOutput | None = Field(default=None, description="Where the clips go")
    limits: LimitsSection | None = Field(default=None, description="What may be going on at once")
    provider: ProviderSection | None = Field(default=None, description="How requests are worded")
    prices: PricesSection | None = Field(default=None, description="What clips cost")
    budget: BudgetSection | None = Field(default=None, description="What may be spent")
    jobs: Annotated[list[JobEntry], Field(min_length=1)] = Field(description="The clips to make")
