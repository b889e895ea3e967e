# Two images from one file: `web` without torch, `worker` with it.
#   docker build --target web -t attune-web .
#   docker build --target worker -t attune-worker .
# TORCH_INDEX selects the worker's torch build; empty means the default one (CUDA on Linux).

FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pg_dump and psql, for `attune backup` and `attune restore`.
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-client && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 attune && mkdir -p /srv/attune /data /hub && chown attune /data /hub
WORKDIR /srv/attune
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app ./app
COPY client ./client
COPY migrations ./migrations
COPY templates ./templates
COPY static ./static
ENV ATTUNE_DATA_DIR=/data

FROM base AS web
RUN mkdir worker && touch worker/__init__.py \
    && pip install --constraint constraints.txt --editable '.[postgres,oidc]'
USER attune
# For a browser on this machine; others need https (docs/operations.md).
ENV ATTUNE_PUBLIC_URL=http://localhost:8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["attune", "serve", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS worker
ARG TORCH_INDEX=""
COPY worker ./worker
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && pip install --constraint constraints.txt --editable '.[worker,postgres,s3]'
USER attune
CMD ["attune", "worker"]
