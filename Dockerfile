# CPU:  docker build -t pellucid .
# CUDA: docker build -t pellucid:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#       (any index that has the torch of constraints.txt)
# Run:  docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" pellucid demo     (CUDA: with --gpus all)
#       --user, since your folder belongs to you and not to the user in the image
# Not built or run yet; tests/test_release.py reads it.
FROM python:3.12-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/pellucid
COPY constraints.txt /source/
# first, alone: what it weighs does not change with our source
RUN /opt/pellucid/bin/pip install --no-cache-dir -c /source/constraints.txt torch --index-url "$TORCH_INDEX"
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN /opt/pellucid/bin/pip install --no-cache-dir -c /source/constraints.txt \
    "/source[annotate,dicom,huggingface,onnx,pretrained]"

FROM python:3.12-slim
COPY --from=build /opt/pellucid /opt/pellucid
RUN useradd --create-home pellucid
USER pellucid
# caches of matplotlib and torch: a user whom --user names has no home and no name here
ENV HOME=/tmp USER=pellucid
WORKDIR /work
ENTRYPOINT ["/opt/pellucid/bin/pellucid"]
CMD ["--help"]
