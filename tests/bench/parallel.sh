#!/usr/bin/env bash
# What people write instead, in a shell: parallel.sh URL JOBS LIMIT POLL FOLDER. GNU parallel keeps a log of what was done.
set -euo pipefail
export URL=$1 POLL=$4 FOLDER=$5 AUTH="Authorization: Bearer sk-bench-0123456789"

job() {
  body='{"model":"kling-v3","mode":"std","duration":5,"aspect_ratio":"16:9","audio":false,"prompt":"clip '$1'"}'
  task=$(curl -sSf -H "$AUTH" -H 'Content-Type: application/json' -d "$body" "$URL/v1/videos/generations")
  task=${task#*'"id": "'} task=${task%%'"'*}
  while
    sleep "$POLL"
    answer=$(curl -sSf -H "$AUTH" "$URL/v1/videos/generations/$task")
    [[ $answer != *'"completed"'* ]]
  do :; done
  clip=${answer#*'"url": "'} clip=${clip%%'"'*}
  curl -sSf -o "$FOLDER/$1.mp4" "$clip"
}
export -f job

seq "$2" | SHELL=/bin/bash parallel --will-cite --jobs "$3" --joblog "$FOLDER/log" job
