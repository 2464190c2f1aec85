# CPU:  docker build -t pellucid .
# CUDA: docker build -t pellucid:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
# Run:  docker run --rm -v "$PWD:/work" pellucid demo          (CUDA: with --gpus all)
FROM python:3.12-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/pellucid
# first, alone: what it weighs does not change with our source
RUN /opt/pellucid/bin/pip install --no-cache-dir "torch>=2.7" --index-url "$TORCH_INDEX"
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN /opt/pellucid/bin/pip install --no-cache-dir "/source[annotate,dicom,huggingface,onnx,pretrained]"

FROM python:3.12-slim
COPY --from=build /opt/pellucid /opt/pellucid
RUN useradd --create-home pellucid
USER pellucid
WORKDIR /work
ENTRYPOINT ["/opt/pellucid/bin/pellucid"]
CMD ["--help"]
