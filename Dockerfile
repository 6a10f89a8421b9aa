# realign in a container, as a user without rights:
#   docker build --target cpu -t realign .       (--build-arg TORCH_INDEX=ADDRESS takes PyTorch's CPU wheels: see its
#                                                 installation page for the address; the image is 4.5 GB smaller)
#   docker build --target cuda -t realign:cuda . (run with --gpus all; torch brings CUDA, the host brings the driver)
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" realign generate "a person bows" -o bow.gif
FROM python:3.12-slim AS source
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY realign realign

FROM source AS build-cpu
ARG TORCH_INDEX=
RUN if [ -n "$TORCH_INDEX" ]; then pip install torch --index-url "$TORCH_INDEX"; fi
RUN pip install '.[cpu]'

FROM source AS build-cuda
RUN pip install '.[gpu]'

FROM python:3.12-slim AS run
RUN useradd --create-home --uid 1000 realign && install -d -o realign /work
ENV PATH=/opt/venv/bin:$PATH REALIGN_CACHE=/tmp/realign HF_HOME=/tmp/huggingface
WORKDIR /work
USER realign
ENTRYPOINT ["realign"]
CMD ["--help"]

FROM run AS cuda
COPY --from=build-cuda /opt/venv /opt/venv

FROM run AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
