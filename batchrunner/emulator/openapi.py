"""The emulated API as an OpenAPI 3.1 document.

What may be submitted is written with the very constants that `validation` checks with. Rules that JSON Schema cannot say
are in the descriptions: a number written 5.0 is refused, and images are known by their content, not by their name.
"""

from __future__ import annotations

from typing import Any

from batchrunner.emulator import tokens
from batchrunner.emulator import validation as rules
from batchrunner.emulator.images import MAX_BYTES, MIME, NAME
from batchrunner.emulator.lifecycle import Status
from batchrunner.emulator.limits import GROUPS
from batchrunner.emulator.prices import CREDITS_PER_USD

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_UNIX: Schema = {**_WHOLE, "description": "Unix seconds."}


def document() -> Schema:
    """The whole document; it is plain JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ToAPIs video generation, emulated",
            "version": rules.MODEL,
            "description": "What the emulator answers without faults. The original: https://docs.toapis.com",
        },
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Submission": _submission(),
                "Task": _task(),
                "Error": _error(),
                "RelayError": _closed({"code": _STRING, "message": _STRING, "data": {"type": "null"}}),
                "Upload": _upload(),
                "Unsuccessful": _closed({"success": {"const": False}, "message": _STRING}),
                "Balance": _balance(),
                "Models": _models(),
                "TokenRequest": _token_request(),
                "Token": _token(),
            },
        },
    }


def _closed(properties: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


# what is sent


def _text(**more: Any) -> Schema:
    return {"type": "string", "maxLength": rules.MAX_TEXT, **more}


def _submission() -> Schema:
    url = {"type": "string", "pattern": f"^{rules.IMAGE_URL}$"}
    client_id = {"type": "string", "pattern": f"^{rules.CLIENT_ID}$"}
    metadata = _closed({"negative_prompt": _text(), "watermark": {"type": "boolean"}, "client_business_id": client_id})
    fields = {
        "model": {"type": "string", "enum": [rules.MODEL]},
        "prompt": _text(minLength=1, pattern=rules.SOMETHING),
        "mode": {"type": "string", "enum": list(rules.MODES), "default": "std"},
        "duration": {"type": "integer", "enum": list(rules.DURATIONS), "default": 5},
        "aspect_ratio": {"type": "string", "enum": list(rules.ASPECT_RATIOS), "default": "16:9"},
        "image_urls": {"type": "array", "items": url, "maxItems": rules.MAX_IMAGES},
        "image_with_roles": {"anyOf": _roles(url)},
        "audio": {"type": "boolean", "default": False},
        "metadata": {**metadata, "required": []},
        "client_business_id": client_id,
    }
    short = [seconds for seconds in rules.DURATIONS if seconds <= rules.LONGEST_WITH_IMAGES]
    none = {"type": "array", "maxItems": 0}
    return {
        **_closed(fields, optional=tuple(name for name in fields if name not in rules.REQUIRED)),
        "allOf": [
            {"not": {"required": ["image_urls", "image_with_roles"]}},
            {
                "anyOf": [
                    {"properties": {"duration": {"enum": short}}},
                    {"properties": {"image_urls": none, "image_with_roles": none}},
                ]
            },
            {
                "anyOf": [
                    {"not": {"required": ["client_business_id"]}},
                    {"properties": {"metadata": {"not": {"required": ["client_business_id"]}}}},
                ]
            },
        ],
    }


def _roles(url: Schema) -> list[Schema]:
    """Every array of roles that may be sent: none twice, and no last frame without a first one."""
    first, last = (_closed({"url": url, "role": {"const": role}}) for role in rules.ROLES)
    rows: tuple[list[Schema], ...] = ([], [first], [first, last], [last, first])
    return [
        {"type": "array", "minItems": len(row), "maxItems": len(row), **({"prefixItems": row} if row else {})}
        for row in rows
    ]


# what is answered


def _task() -> Schema:
    head: Schema = {
        "id": _STRING,
        "object": {"const": "generation.task"},
        "model": {"const": rules.MODEL},
        "status": {"enum": [*Status]},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "created_at": _UNIX,
    }
    clip = _closed({"url": {"type": "string", "format": "uri"}, "format": {"const": "mp4"}})
    more: Schema = {
        "client_business_id": _STRING,
        "metadata": {"type": "object"},
        "completed_at": _UNIX,
        "expires_at": _UNIX,
        "result": _closed({"type": {"const": "video"}, "data": {"type": "array", "items": clip, "minItems": 1}}),
        "error": _closed({"code": _STRING, "message": _STRING}),
    }
    completed, failed = {"const": Status.COMPLETED}, {"const": Status.FAILED}
    return {
        **_closed({**head, **more}, optional=tuple(more)),
        "dependentRequired": {"result": ["completed_at", "expires_at"]},
        "allOf": [
            {"if": {"required": ["result"]}, "then": {"properties": {"status": completed}}},
            {"if": {"required": ["error"]}, "then": {"properties": {"status": failed}}},
        ],
    }


def _error() -> Schema:
    code = {"type": ["integer", "string"], "description": "The HTTP status, or a word, by page."}
    return _closed({"error": _closed({"code": code, "message": _STRING, "type": _STRING}, optional=("type",))})


def _upload() -> Schema:
    mime = {"enum": list(MIME.values())}
    stored = _closed({"id": _STRING, "url": {"type": "string", "format": "uri"}, "mime_type": mime, "size": _WHOLE})
    return _closed({"success": {"const": True}, "message": _STRING, "data": stored})


def _balance() -> Schema:
    amount: Schema = {"type": "number", "description": "-1 is without a limit."}
    return _closed(
        {
            "success": {"const": True},
            "message": _STRING,
            "remain_balance": amount,
            "used_balance": {"type": "number"},
            "remain_credits": {**amount, "type": "integer"},
            "used_credits": {"type": "integer"},
            "credits_per_usd": {"const": CREDITS_PER_USD},
            "unlimited_quota": {"type": "boolean"},
        }
    )


def _models() -> Schema:
    kinds = {"type": "array", "items": _STRING}
    model = _closed(
        {"id": _STRING, "object": {"const": "model"}, "created": _UNIX, "owned_by": _STRING}
        | {"supported_endpoint_types": kinds}
    )
    listed = {"type": "array", "items": model}
    return _closed({"success": {"const": True}, "object": {"const": "list"}, "data": listed})


def _token_request() -> Schema:
    amount: Schema = {"type": "integer", "minimum": 0, "maximum": (1 << 53) - 1}
    switch: Schema = {"type": "boolean"}
    fields: Schema = {
        "name": {"type": "string", "minLength": 1, "maxLength": tokens.MAX_NAME},
        "expired_time": {**amount, "minimum": -1, "description": "Unix seconds; -1 is never."},
        "remain_quota": {**amount, "description": "500 000 are a dollar; remain_credits wins."},
        "remain_credits": amount,
        "daily_credits": amount,
        "monthly_credits": amount,
        "unlimited_quota": switch,
        "model_limits_enabled": switch,
        "model_limits": {"type": "string", "description": "Models, with commas between them."},
        "group": {"enum": [*GROUPS]},
    }
    return _closed(fields, optional=tuple(name for name in fields if name != "name"))


def _token() -> Schema:
    asked: Schema = dict(_token_request()["properties"])
    del asked["remain_quota"]
    cap = {"type": ["integer", "null"], "minimum": 0}
    more = {"remain_credits": {"type": "integer", "minimum": -1}, "daily_credits": cap, "monthly_credits": cap}
    data = _closed({**asked, **more, "key": _STRING, "created_at": _UNIX})
    return _closed({"success": {"const": True}, "message": _STRING, "data": data})


# where


def _paths() -> Schema:
    tasks = "/v1/videos/generations"
    paths: Schema = {
        tasks: {"post": _submit()},
        tasks + "/{task_id}": {"get": _status()},
        "/v1/uploads/images": {"post": _upload_image()},
        "/v1/models": {"get": _list_models()},
        "/v1/tokens": {"post": _make_token()},
        "/files/{task_id}.mp4": {"get": _result()},
        "/uploads/{name}": {"get": _image()},
    }
    for path, whose in (("/v1/balance", "key"), ("/v1/user/balance", "account")):
        for alias in (path, path.removeprefix("/v1")):
            answers = {"200": _json("The balance.", "Balance"), "401": _refusal("No key.")}
            paths[alias] = {"get": {"summary": f"What the {whose} has left and has used", "responses": answers}}
    return paths


def _submit() -> Schema:
    return {
        "operationId": "submit",
        "summary": "Submit a video; it is charged when it is accepted",
        "description": "The same client_business_id again answers with the task that it has made. "
        "callback_url is refused with webhook_not_configured: no key here has one.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Submission")}}},
        "responses": {
            "200": {
                **_json("Accepted.", "Task"),
                "links": {"status": {"operationId": "status", "parameters": {"task_id": "$response.body#/id"}}},
            },
            "400": _refusal("A rule is broken; the message begins with the field."),
            "401": _refusal("No key."),
            "402": _refusal("Not enough credits."),
            "403": _refusal("The key may not spend so much, or may not use this model."),
            "429": _too_many("Faster than the group may submit, or as many tasks run as may.", "Error", "RelayError"),
        },
    }


def _status() -> Schema:
    task = _parameter("task_id", "path", {"type": "string", "minLength": 1}, "The task's id or its client_business_id.")
    return {
        "operationId": "status",
        "summary": "How a task is doing, and its result",
        "parameters": [task],
        "responses": {
            "200": _json("The task.", "Task"),
            "401": _refusal("No key."),
            "404": _refusal("There is no such task."),
            "429": _too_many("Faster than the group may ask.", "Error"),
        },
    }


def _upload_image() -> Schema:
    form = {
        "type": "object",
        "properties": {
            "file": {"type": "string", "format": "binary", "description": f"At most {MAX_BYTES >> 20} MB."},
            "purpose": {"default": "generation"},
        },
        "required": ["file"],
    }
    encoding = {"file": {"contentType": ", ".join(MIME.values())}}
    return {
        "summary": "Store an image, for image_urls",
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form, "encoding": encoding}}},
        "responses": {
            "200": _json("Stored.", "Upload"),
            "400": _json("No image of the four formats, or too large.", "Unsuccessful"),
            "401": _refusal("No key."),
        },
    }


def _make_token() -> Schema:
    return {
        "summary": "Make a key with limits of its own; it is shown this once",
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("TokenRequest")}}},
        "responses": {
            "200": _json("Made.", "Token"),
            "400": _json("A rule is broken; the message begins with the field.", "Unsuccessful"),
            "401": _refusal("No key."),
        },
    }


def _list_models() -> Schema:
    kind = _parameter("type", "query", _STRING, "video or all; text models, of which there are none here, without it.")
    return {
        "summary": "The models that the key may use",
        "parameters": [{**kind, "required": False}],
        "responses": {"200": _json("The models.", "Models"), "401": _refusal("No key.")},
    }


def _result() -> Schema:
    clip: Schema = {"content": {"video/mp4": {}}}
    return {
        "summary": "A finished clip, by the link of its task; Range and If-Range are understood",
        "security": [],
        "parameters": [
            _parameter("task_id", "path", {"type": "string", "minLength": 1}, "The task's id."),
            _parameter("expires", "query", _STRING, "Unix seconds, from the link."),
            _parameter("signature", "query", _STRING, "From the link."),
        ],
        "responses": {
            "200": {"description": "The clip.", **clip},
            "206": {"description": "A part of it.", **clip},
            "403": _refusal("The link is not ours or has expired."),
            "404": _refusal("There is no such clip."),
            "416": {"description": "It has no such part.", "content": {"text/plain": {}}},
        },
    }


def _image() -> Schema:
    return {
        "summary": "An uploaded image",
        "security": [],
        "parameters": [
            _parameter("name", "path", {"type": "string", "pattern": f"^{NAME}$"}, "From the upload's answer.")
        ],
        "responses": {
            "200": {"description": "The image.", "content": {mime: {} for mime in MIME.values()}},
            "404": _refusal("There is no such image."),
        },
    }


def _parameter(name: str, where: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": where, "required": True, "schema": schema, "description": description}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, name: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": _ref(name)}}}


def _too_many(description: str, *names: str) -> Schema:
    seconds = {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds."}
    content = {"application/json": {"schema": {"anyOf": [_ref(name) for name in names]}}}
    return {"description": description, "content": content, "headers": {"Retry-After": seconds}}


def _refusal(description: str) -> Schema:
    return _json(description, "Error")
