#!/usr/bin/env bash
# A TPU pod slice of several TPU VMs. Never run: nobody of this project had a TPU.
#
# TensorFlow drives a slice from one process: on VM 0 runs tfscale, on every VM the TensorFlow server of the "pod" runtime,
# which is connected to by name. Both must be the same TensorFlow, and tfscale needs 2.20. The newest runtime in Google's
# list was 2.18.0 when this was written, so look first: gcloud compute tpus versions list --zone "$ZONE"
set -euo pipefail
NAME=tfscale-pod
ZONE=us-central2-b
TYPE=v4-32
RUNTIME=tpu-vm-tf-2.20.0-pod-pjrt
BUCKET=gs://my-bucket  # read and written by VM 0; data was made by `tfscale prepare ... --output data` and copied there

gcloud compute tpus tpu-vm create "$NAME" --zone "$ZONE" --accelerator-type "$TYPE" --version "$RUNTIME"
gcloud compute tpus tpu-vm scp --recurse tfscale "$NAME": --zone "$ZONE" --worker 0  # a clone of the repository
# The order of installation matters: whatever asks for `tensorflow` would overwrite the TPU kernels of tensorflow-tpu.
# VM 0 speaks to the servers of all VMs, its own included, and leaves the chips to them (TPU_LOAD_LIBRARY).
gcloud compute tpus tpu-vm ssh "$NAME" --zone "$ZONE" --worker 0 --command "
  set -e
  python3.11 -m venv tfscale-env
  . tfscale-env/bin/activate
  pip install tensorflow-tpu==2.20.0 'libtpu>=0.0.14,<0.0.32' keras==3.15.1
  pip install --no-deps tensorflow-text==2.20.1 keras-hub==0.32.0 keras-nlp==0.32.0 tf_keras==2.20.1 tensorflow-model-optimization==0.8.1
  pip install 'ai-edge-litert>=2.3,<2.4' 'litert-quantizer>=0.11,<0.12' 'sentencepiece>=0.2.1,<0.3' 'tokenizers>=0.22,<1' 'jsonargparse>=4.53,<5' 'PyYAML>=6' 'rich>=13' 'matplotlib>=3.9' 'jinja2>=3.1' 'tensorboard>=2.20' 'setuptools>=77' 'dm-tree>=0.1.8' mock regex 'kagglehub!=1.0.1' kagglesdk==0.1.28
  pip install --no-deps ./tfscale
  export TPU_NAME=$NAME TPU_LOAD_LIBRARY=0
  tfscale train --data $BUCKET/data --output $BUCKET/run --train.strategy tpu --train.precision mixed_bfloat16 --train.global_batch_size 1024 --train.steps 20000
"
# The slice costs money until it is deleted:
# gcloud compute tpus tpu-vm delete "$NAME" --zone "$ZONE"
