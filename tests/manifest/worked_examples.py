"""The four worked examples of the language's design (ux notes §3.3), word for word, and the table of the third."""

HELLO = """\
version: 1
jobs:
  - prompt: 一只金色的猫咪在阳光下的草地上奔跑，慢动作，电影质感
  - prompt: 雨夜东京街头，霓虹灯倒映在湿润地面上，电影镜头
    mode: pro
    duration: 10
  - id: day-to-night
    prompt: 城市从白天自然过渡到夜晚
    frames: {first: frames/shot1_first.png, last: frames/shot1_last.png}
"""

PAIRS = """\
version: 1
name: lantern-festival
vars: {style: "电影质感，柔和光线"}
defaults: {mode: std, duration: 5, aspect_ratio: 9:16}
output: {dir: "out/{name}", filename: "{shot}_{mode}_t{take}.mp4"}
budget: {max_cost: 120}
jobs:
  - id: pairs
    from:
      pairs: {dir: frames, first: "{shot}_first.png", last: "{shot}_last.png"}
    prompt: 镜头从首帧平滑过渡到尾帧，{style}，{shot}
    matrix: {mode: [std, pro]}
    takes: 2
  - id: board
    from:
      chain: {glob: "keyframes/*.png", loop: true}
    prompt: 从 {from_stem} 到 {to_stem} 的转场，{style}
    output: {filename: "board_{from_stem}-{to_stem}.mp4"}
"""

CLIENT = """\
version: 1
name: client-reel
defaults: {mode: std, aspect_ratio: 16:9}
jobs:
  - id: reel
    from:
      csv: shots.csv
      columns: {镜号: key, 提示词: prompt, 首帧: first, 尾帧: last, 时长: duration, 模式: mode, 客户: client}
    output: {dir: "out/{client}", filename: "{row}.mp4"}
    metadata: {project: reel-2026}
"""

ADS = """\
version: 1
name: ad-test
vars: {product: 无线耳机}
limits: {concurrency: 6, max_jobs: 200, stop_after_failures: 10, deadline: "06:30"}
budget: {max_cost: 300, per_day: 500}
jobs:
  - id: ad
    prompts:
      hero: "{product}悬浮在{scene}中，{move}"
      macro: "{product}微距特写，{scene}，{move}"
    matrix:
      scene: [极简白色空间, 雨夜霓虹街头, 清晨森林]
      move: [镜头缓慢环绕, 镜头快速推进]
      aspect_ratio: [16:9, 9:16, 1:1]
      duration: [5, 15]
    exclude:
      - {aspect_ratio: 1:1, duration: 15}
      - {scene: 清晨森林, move: 镜头快速推进}
    key: "{prompt_key}/{scene}/{move}/{aspect_ratio}-{duration}s"
    output: {filename: "{slug}.mp4"}
    tags: [nightly, ab-test]
"""

SHOTS = """\
镜号,提示词,首帧,尾帧,时长,模式,客户
S01,"晨雾中的山谷，缓慢推进, 电影质感",frames/shot1_first.png,frames/shot1_last.png,5,,ACME
S02,雨夜的街道,,,10,pro,ACME
S03,灯笼升起,frames/shot2_first.png,,,,Globex
"""
"""As Excel saves it: with a mark at its beginning, a quoted comma and empty cells."""
