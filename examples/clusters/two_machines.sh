#!/usr/bin/env bash
# Two machines by hand. Run on each, with its own number:   ./two_machines.sh 0   and   ./two_machines.sh 1
# Every machine needs the same tfscale, the same data folder and the same options; RUN_DIR matters on worker 0 only.
set -euo pipefail
index=$1
export TF_CONFIG='{
  "cluster": {"worker": ["host0.example.com:2222", "host1.example.com:2222"]},
  "task": {"type": "worker", "index": '"$index"'}
}'
# Exit code 75 means: stopped after a checkpoint, go on. 1 as a rule means that the other machine was lost.
until tfscale train --data data --output run --train.strategy multi_worker --train.steps 10000; do
  code=$?
  if [ "$code" -eq 2 ]; then exit 2; fi
  sleep 10
done
