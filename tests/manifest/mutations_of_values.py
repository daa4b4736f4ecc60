"""Operators that write a wrong value for a key, or wrong lines at the end."""

from __future__ import annotations

from mutations import tail, values

TEXT_KEYS = "prompt id name dir filename first last csv glob key project"
ALL_KEYS = (
    f"{TEXT_KEYS} mode duration aspect_ratio audio takes priority max_jobs max_in_flight max_cost currency version"
)

# values of the wrong kind, or that nothing offers

values("list_for_one_value", ALL_KEYS, "[one, other]", "[5]", "[]")
values("mapping_for_one_value", ALL_KEYS, "{a: b}", "{style}", "{}")
values("number_for_text", TEXT_KEYS, "5", "1.10", "0x1F", "1e3", "true", "-.inf")
values(
    "text_for_number",
    "duration takes priority max_jobs max_in_flight version",
    "five",
    "5s",
    '"5"',
    "5 秒",
    "1_000",
    "0b1",
)
values("text_for_boolean", "audio watermark loop enabled", "no", "on", "Yes", '"true"', "1", "否")
values("bad_choice", "mode aspect_ratio unpaired", "fast", "720P", "16x9", "4:3", "STD", "'16: 9'")
values("fraction", "duration takes priority", "5.5", "5.0", ".5", ".nan")
values("out_of_bounds", "takes max_jobs max_in_flight", "0", "-1", "10000000")
values("length_not_offered", "duration", "7", "0", "-5", "99999999999")
values("huge_number", "duration takes priority max_cost", "1" * 5000, "9" * 400, "-" + "8" * 2000)
values("too_long", "prompt", "猫" * 2501, "a" * 5000)
values("no_value", ALL_KEYS, "", "~", "null", "# 只有注释")
values("bad_name", "id name", '"a\\tb"', "''", "'  '", '"con\\0"', "'" + "a" * 300 + "'")
values("blank_prompt", "prompt", "''", "'  '", '"\\n"')

# text that YAML takes for something else

values(
    "unquoted_special",
    "prompt",
    "@张三",
    "`x`",
    "%x",
    "*star*",
    "!重要",
    "> 折叠",
    "| x",
    "- 推进",
    "&a: b",
    ", a",
    "] a",
)
values("braces_unquoted", "prompt", "{style} 猫", "[慢] 猫")
values("colon_in_text", "prompt", "镜头: 推进", "a: b: c", "猫:")
values("unclosed_quote", "prompt id mode", '"abc', "'abc")
values("text_after_quote", "prompt", "'a' b", '"a"b', "'it's'")
values("bad_escape", "prompt first last", r'"C:\Users\a"', r'"\q"', r'"\ud800"', r'"\U00110000"')
values(
    "tag",
    "prompt mode duration",
    "!!python/object/apply:os.system [ls]",
    "!!python/name:os.system x",
    "!env HOME",
    "!!binary aGk=",
    "!!timestamp 2026-11-22",
    "!include a",
)
values("alias_of_nothing", "prompt mode duration", "*nobody")
values("control_character", "prompt id", "a\x1bb", "a\x00b", "a\x08b", "猫\u2028b", "a\ufffeb", "a\x85b", "\x7f")

# placeholders, paths, addresses

values(
    "unknown_placeholder",
    "prompt filename",
    "'猫 {stlye}'",
    "'{0}'",
    "'{}'",
    "'{style.__class__}'",
    "'{style!r}'",
    "'{a[0]}'",
)
values("single_brace", "prompt filename", "'a { b'", "'a } b'", "'{{a}'", "'{a{b}}'")
values("pads_a_text", "filename prompt", "'{mode:03}'", "'{aspect_ratio:2}'")
values(
    "path_leaves",
    "first last",
    "../../../../etc/passwd",
    "/etc/passwd",
    "frames/../../../x.png",
    "'C:\\x.png'",
    "~/x.png",
)
values("no_such_frame", "first last", "frames/nobody.jpg", "frames", "frames/", "''", "frames/city_first.JPG")
values("rows_leave", "csv", "../shots.csv", "/etc/passwd", "/dev/zero", "nobody.csv", "frames", "''")
values("glob_leaves", "glob", "../*.jpg", "/etc/*", "'**/*.jpg'", "nothing/*.jpg", "keyframes/*.gif", "''")
values("output_leaves", "dir filename", "../{name}", "/tmp/x", "a/../../b", "'C:/x'", "~/out")
values(
    "bad_address",
    "first",
    "ftp://a.example/b.png",
    "https://u:p@a.example/b.png",
    "file:///etc/passwd",
    "https://",
    "data:image/png;base64,AA",
)

# things that stand at the end of a file

tail("unknown_top_key", "jbos: []\n", "model: kling\n", "api_key: sk-1\n", "concurrency: 4\n")
tail("second_document", "---\nversion: 1\n", "...\n---\na: 1\n", "--- a\n", span=2)
tail(
    "deep_nesting",
    "x-d: " + "[" * 5000,
    "x-d: " + "{a: " * 3000,
    "x-d: " + "- " * 4000,
    "x-d:\n  " + "? " * 4000,
    span=2,
)
tail("laughs", "".join(f"x-{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10) if n else 'b'}]\n" for n in range(12)), span=12)
WIDE = "x-0: &w {" + ", ".join(f"k{number}: 1" for number in range(1000)) + "}\n"
tail("merge_bomb", WIDE + "x-1: {<<: [" + ", ".join(["*w"] * 5000) + "]}\n", span=2)
tail("cyclic_alias", "x-c: &c [*c]\n", "x-c: &c {a: *c}\n", "x-c: &c {<<: *c}\n")
tail("merge_of_a_value", "x-m: {<<: 1}\n", "x-m: {<<: [a]}\n", "x-m:\n  <<: text\n", span=2)
tail("key_that_is_no_text", "5: a\n", "true: a\n", "? [a, b]\n: 1\n", "{a: b}: 1\n", "~: 1\n")
tail("unclosed_bracket", "x-b: [a, b\n", "x-b: {a: b\n", "x-b: [[a]\n", span=2)
tail("comma_too_many", "x-b: {a: b,, c: d}\n", "x-b: [,a]\n")
tail("directive_or_marker", "%YAML 9.9\n", "%TAG ! x\n", "@\n", "\t- a\n")
tail("missing_colon", "just words\n", "x-b\n")

values("full_width", "mode duration aspect_ratio audio takes priority", "５", "“std”", "ｓｔｄ", "【std】", "16：9x")
values("spoken", "mode duration aspect_ratio audio", "很好", "很长", "五颜六色")
tail(
    "not_in_this_version",
    "notify: {on: [failed]}\n",
    "extends: brand.yaml\n",
    "profiles: {a: b}\n",
)
