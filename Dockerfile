# The service as a container image. `docker build -t cadence-consumer .`
#
# The first stage has pip and the sources, the second only what runs. What runs is pinned by hash in
# requirements.lock; the build backend by version in pyproject.toml.

# Any image with Python 3.11 or newer and its venv module, as `python`: a mirror of yours, a hardened one.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/cadence
# Dependencies first: they change less often than the sources, and this layer is the slow one.
COPY requirements.lock ./
RUN /opt/cadence/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY consumer ./consumer
COPY handlers ./handlers
RUN /opt/cadence/bin/pip install --no-deps .
# Handlers in a folder mounted at /plugins are found; last, unlike by PYTHONPATH, so that nothing in it hides what is pinned above.
RUN echo /plugins > "$(/opt/cadence/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/plugins.pth"

FROM ${BASE}
LABEL org.opencontainers.image.title="cadence-consumer" \
      org.opencontainers.image.description="Salesforce Sales Engagement cadences as lifecycle events" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/cadence /opt/cadence
# CADENCE_CONTAINER takes the default of store.url away: a file in a container's own layer would lose the replay positions with it.
ENV PATH=/opt/cadence/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CADENCE_CONTAINER=1 \
    CADENCE_HTTP__HOST=0.0.0.0
WORKDIR /app
# By number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# The port is the variable's; one set in a file must be set there too. http.client, because urllib would go through a configured proxy.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('CADENCE_HTTP__PORT') or 8080), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
# Exec form: the service itself is process 1 and gets the signals.
ENTRYPOINT ["cadence-consumer"]
CMD ["run"]
