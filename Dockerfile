# unet-train in a container: docker build -t unet-train .  (for CUDA: --build-arg TORCH=cuda). See docs/docker.md.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
# cpu: PyTorch's small build; cuda: the usual one for Linux, which brings the CUDA libraries.
ARG TORCH=cpu
ARG EXTRAS=timm,export,annotations,volumes
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/unet-train
ENV PATH=/opt/unet-train/bin:$PATH
# By itself, so that a change of the code does not fetch it again.
RUN case "$TORCH" in \
        cpu) pip install "torch>=2.6" "torchvision>=0.21" --index-url https://download.pytorch.org/whl/cpu ;; \
        cuda) pip install "torch>=2.6" "torchvision>=0.21" ;; \
        *) echo "TORCH=$TORCH: cpu or cuda" >&2; exit 2 ;; \
    esac
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY unet_train unet_train
COPY configs configs
RUN pip install ".[$EXTRAS]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/unet-train /opt/unet-train
ENV PATH=/opt/unet-train/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 user
USER user
WORKDIR /work
CMD ["unet-train", "--help"]
