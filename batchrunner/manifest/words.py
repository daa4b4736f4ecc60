"""Which key was meant: misspellings, and the words of other tools and of Chinese headers for what we call otherwise."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from batchrunner.manifest import schema

if TYPE_CHECKING:
    from batchrunner.manifest.source import Loc

_OTHER_WORDS = {
    "id": "编号 镜号 镜头 标识 shot",
    "prompt": "text description caption 提示词 提示 提示语 描述 文案 画面 内容",
    "mode": "resolution quality 模式 画质 质量 清晰度 分辨率",
    "duration": "seconds time length secs 时长 时间 秒数 秒 长度",
    "aspect_ratio": "ratio size aspect aspectratio 比例 画面比例 画幅 宽高比 长宽比 尺寸",
    "audio": "sound with_audio generate_audio 音频 声音 音效 有声 配音",
    "frames": "images image_urls image_with_roles 图片 图像 帧 首尾帧",
    "frames.first": "image image_url first_frame first_image start_frame start img input_image 首帧 首图 起始帧 开始帧",
    "frames.last": "last_frame last_image end_frame end tail image_tail tail_image 尾帧 尾图 末帧 结束帧",
    "metadata.negative_prompt": "negative negativeprompt 反向提示词 负面提示词 负向提示词 反向提示 负面提示",
    "metadata.watermark": "水印",
    "output": "out outputs 输出",
    "output.filename": "file file_name path 文件名 文件",
    "output.dir": "directory folder output_dir outdir 目录 文件夹 输出目录",
    "limits.max_in_flight": "parallel parallelism workers max_concurrency 并发 并发数",
    "limits.submit_rate": "submits_per_second rate qps rps",
    "budget.max_cost": "max_spend cost 最高费用 费用上限",
    "budget": "预算",
    "prices": "price 价格 单价",
    "limits": "limit 限制",
    "budget.per_day": "daily per_diem day 每日 每天",
    "budget.per_month": "monthly month 每月",
    "limits.max_duration": "timeout max_time",
    "limits.deadline": "until stop_at 截止 截止时间",
    "limits.window": "hours night nights 时段 时间段",
    "limits.stop_after_failures": "max_failures fail_fast",
    "limits.max_jobs": "max_clips maximum",
    "prompts": "texts captions 提示词列表",
    "from.csv": "source data table 表格",
    "from.rows": "foreach each items",
    "from.chain": "storyboard keyframes 分镜",
    "takes": "repeat repeats count times n variants variations samples 次数 遍数 条数 数量",
    "matrix": "grid sweep product combinations 矩阵",
    "exclude": "except without 排除",
    "include": "also 包含",
    "vars": "variables values params parameters 变量",
    "tags": "tag labels label 标签",
    "priority": "order weight 优先级",
    "enabled": "active enable on disabled skip 启用",
    "jobs": "clips tasks shots items videos scenes 任务",
    "defaults": "default 默认",
    "version": "schema_version 版本",
    "name": "batch title 名称",
}
WRONG_WORDS = {word: target for target, words in _OTHER_WORDS.items() for word in words.split()}

VALUES = {
    **dict.fromkeys(["720p", "standard", "标准", "普通", "标清"], "std"),
    **dict.fromkeys(["1080p", "professional", "high", "hd", "专业", "高清", "高品质"], "pro"),
    **dict.fromkeys(["16x9", "16/9", "16-9", "landscape", "horizontal", "wide", "横屏", "横版", "横"], "16:9"),
    **dict.fromkeys(["9x16", "9/16", "9-16", "portrait", "vertical", "tall", "竖屏", "竖版", "竖"], "9:16"),
    **dict.fromkeys(["1x1", "1/1", "1-1", "square", "方形", "正方形", "方"], "1:1"),
}
"""What else people call the values of `mode` and `aspect_ratio`."""
SECONDS = {"五": 5, "十": 10, "十五": 15}

_REFUSED = {
    "model": "leave it out: every clip is made by kling-v3",
    "api_key": "keys never belong in a manifest: set the environment variable TOAPIS_API_KEY",
    "apikey": "keys never belong in a manifest: set the environment variable TOAPIS_API_KEY",
    "token": "keys never belong in a manifest: set the environment variable TOAPIS_API_KEY",
    "base_url": "set the environment variable TOAPIS_BASE_URL",
    "client_business_id": "leave it out: batchrunner gives every purchase its own",
    "seed": "leave it out: kling-v3 has no such parameter",
    "fps": "leave it out: kling-v3 has no such parameter",
}

_SECTIONS: dict[str, type[schema.Section]] = {
    "from": schema.From,
    "pairs": schema.Pairs,
    "chain": schema.Chain,
    "frames": schema.FramePaths,
    "metadata": schema.Metadata,
    "limits": schema.LimitsSection,
    "provider": schema.ProviderSection,
    "prices": schema.PricesSection,
    "per_second": schema.PriceTable,
    "per_request": schema.PriceTable,
    "budget": schema.BudgetSection,
    "retry": schema.RetrySection,
}


def section(loc: Loc) -> tuple[str, type[schema.Section]]:
    """What the mapping at `loc` is called in messages, and its model."""
    if not loc:
        return "the manifest", schema.ManifestFile
    if loc == ("defaults",):
        return "`defaults`", schema.Parameters
    if len(loc) == 2 and loc[0] == "jobs":
        return "a job", schema.JobEntry
    if loc[-1] == "output":
        return "`output`", schema.BatchOutput if len(loc) == 1 else schema.JobOutput
    if loc == ("provider",):
        return "`provider`", schema.ProviderSection
    if len(loc) > 2 and loc[-2] in ("exclude", "include", "rows"):
        return f"an item of `{loc[-2]}`", schema.ManifestFile
    return f"`{loc[-1]}`", _SECTIONS.get(str(loc[-1]), schema.ManifestFile)


def fields(model: type[schema.Section]) -> list[str]:
    """The keys that `model` knows, as they are written."""
    return [info.alias or name for name, info in model.model_fields.items()]


_HOMES = {
    key: f"{home}.{key}"
    for home, model in (
        ("metadata", schema.Metadata),
        ("limits", schema.LimitsSection),
        ("budget", schema.BudgetSection),
        ("retry", schema.RetrySection),
        ("prices", schema.PricesSection),
        ("frames", schema.FramePaths),
        ("output", schema.BatchOutput),
        ("from", schema.From),
    )
    for key in fields(model)
    if key not in ("project", "client", "campaign", "owner", "note")
} | {"unpaired": "from.pairs.unpaired", "glob": "from.chain.glob", "loop": "from.chain.loop"}


_LATER = {
    "notify": "look at the exit code, or let what starts the run tell you",
    "extends": "repeat what is shared, or keep it in anchors below an `x-` key",
    "profiles": "choose jobs by `tags:` and --tag",
    "exists": "leave it out: a file that is there is never overwritten, the new one is called `name (2).mp4`",
    "job_timeout": "a slow clip is paid for and never given up; `max_duration` ends the buying",
    "submits_per_minute": "write `submit_rate`, which is per second",
    "submit_per_minute": "write `submit_rate`, which is per second",
}
"""Words of the language's design that this version does not have, and what to write instead."""


def later(word: str) -> str | None:
    """What to do instead of a key that this version does not have; None for any other word."""
    return _LATER.get(word.strip().casefold().replace("-", "_"))


def meant(word: str) -> str:
    """The key of a job that `word` is a well-known other word for; else the word itself."""
    plain = word.strip().casefold().replace("-", "_").replace(" ", "_")
    return WRONG_WORDS.get(plain, word).partition(".")[0]


def suggest(word: str, parent: Loc) -> str:
    """What to do about the unknown key `word` in the mapping at `parent`."""
    here, model = section(parent)
    return _suggest(word, here, model, parent[-1] if parent and isinstance(parent[-1], str) else "")


@lru_cache(maxsize=256)  # one wrong word is often in every job
def _suggest(word: str, here: str, model: type[schema.Section], parent: str) -> str:
    known = fields(model)
    plain = word.strip().casefold().replace("-", "_").replace(" ", "_")
    if plain in known:
        return f"did you mean `{plain}`?"
    if model is schema.Metadata and plain not in WRONG_WORDS:
        return (
            "the relay merges metadata into the paid request: only negative_prompt and watermark are allowed, "
            f"and for your books {', '.join(known[2:])}, which are not sent"
        )
    if plain in _REFUSED:
        return _REFUSED[plain]
    if (target := _target(plain, model)) is not None:
        return _where(target, parent, known)
    if close := get_close_matches(plain, known, n=1, cutoff=0.6):
        return f"did you mean `{close[0]}`?"
    everywhere = [*WRONG_WORDS, *_HOMES, *fields(schema.JobEntry), *fields(schema.ManifestFile)]
    if close := get_close_matches(plain, everywhere, n=1, cutoff=0.8):
        return _where(_target(close[0], model) or close[0], parent, known)
    return f"{here} knows {', '.join(known)}"


def _target(word: str, model: type[schema.Section]) -> str | None:
    """The full name of the key that `word` stands for."""
    if word in WRONG_WORDS:
        return WRONG_WORDS[word]
    if word in fields(schema.JobEntry) and model is not schema.JobEntry:
        return word
    return _HOMES.get(word) or (word if word in fields(schema.ManifestFile) else None)


def _where(target: str, parent: str, known: list[str]) -> str:
    """How to write `target`, seen from the mapping under the key `parent`."""
    head, *inner = target.split(".")
    if inner and parent == ([head, *inner][-2]) and inner[-1] in known:
        return f"did you mean `{inner[-1]}`?"
    written = "…"
    for key in reversed(inner):
        written = f"{{{key}: {written}}}"
    written = f"`{head}: {written}`" if inner else f"`{head}`"
    if head in known:
        return f"write {written}" if inner else f"did you mean {written}?"
    if head in fields(schema.Parameters):
        return f"{written} belongs in a job or in `defaults`"
    if head in fields(schema.JobEntry) and head not in fields(schema.ManifestFile):
        return f"{written} belongs in a job"
    return f"{written} belongs at the top of the manifest"
