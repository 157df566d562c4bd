# A worker, or any other command of img2gps; compose.yaml and docs/scaling.md say how to use it.
#   docker build -t img2gps .
#   docker build -t img2gps --build-arg TORCH_INDEX=https://pypi.org/simple .    # with CUDA
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN useradd --no-create-home --uid 10001 img2gps
WORKDIR /src
COPY constraints.txt .
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url "$TORCH_INDEX" torch torchvision
COPY . .
RUN pip install --no-cache-dir -c constraints.txt ".[postgres,object-store,offline,dashboard]"
# Whoever the container runs as, it has a name, and a home that it may write to.
ENV USER=img2gps HOME=/tmp
WORKDIR /data
USER 10001
ENTRYPOINT ["img2gps"]
CMD ["doctor"]
