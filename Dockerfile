# tfscale on the CPU. Nobody has built this image; tests/test_dockerfile.py checks what it names.
#   docker build -t tfscale . && docker run -v "$PWD/savedmodels:/work/savedmodels" tfscale
# For NVIDIA GPUs: add 'tensorflow[and-cuda]' to RUN, and start with `docker run --gpus all`.
FROM python:3.11-slim
WORKDIR /work
COPY pyproject.toml setup.cfg constraints.txt README.md LICENSE ./
COPY tfscale tfscale
RUN python -m pip install --no-cache-dir --constraint constraints.txt '.[train,corpora]'
ENTRYPOINT ["tfscale"]
CMD ["quickstart"]
