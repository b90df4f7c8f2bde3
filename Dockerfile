# syntax=docker/dockerfile:1
FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/tocsin
COPY requirements.lock ./
RUN /opt/tocsin/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY ledger ledger
COPY incidents incidents
COPY notifiers notifiers
COPY api api
RUN /opt/tocsin/bin/pip install --no-deps --no-build-isolation .

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin tocsin \
    && install -d -o tocsin -g tocsin -m 0700 /data
COPY --from=build /opt/tocsin /opt/tocsin
ENV PATH=/opt/tocsin/bin:$PATH PYTHONUNBUFFERED=1 TOCSIN_DATA=/data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8470
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8470/healthz', timeout=2)"]
# Beyond loopback the server starts only with a secret: docker run -e TOCSIN_TOKEN=...
CMD ["tocsin", "serve", "--host", "0.0.0.0", "--port", "8470"]
