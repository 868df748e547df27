# One image per role:  docker build --target party --tag sumroom-party .   (or coordinator, or auditor)
#
# Each holds its own package, the agreement (protocols), and the dependencies of that role: no compiler, no pip of its
# own, no code of the other side. For a base that cannot change under you: --build-arg DIGEST=@sha256:…

ARG BASE=python:3.11-slim
ARG DIGEST=

# -- what the lock allows, as wheels, each hash checked. The later stages have no other source. ------------------------

FROM ${BASE}${DIGEST} AS wheels
WORKDIR /build
COPY requirements.lock ./
RUN python -m pip wheel --quiet --no-cache-dir --require-hashes --requirement requirements.lock --wheel-dir /wheels \
    && python -m venv /tools \
    && /tools/bin/python -m pip install --quiet --no-index --find-links /wheels --upgrade setuptools wheel

# -- a role's dependencies, as pyproject.toml names them ---------------------------------------------------------------

FROM wheels AS tools
COPY pyproject.toml containers/role.py ./

FROM tools AS party-dependencies
RUN python role.py dependencies party

FROM tools AS coordinator-dependencies
RUN python role.py dependencies coordinator

FROM tools AS auditor-dependencies
RUN python role.py dependencies auditor

# -- this project, cut into roles --------------------------------------------------------------------------------------

FROM tools AS source
COPY README.md LICENSE ./
COPY protocols protocols
COPY party_node party_node
COPY coordinator coordinator

FROM source AS party-package
RUN python role.py package party

FROM source AS coordinator-package
RUN python role.py package coordinator

FROM source AS auditor-package
RUN python role.py package auditor

# -- what runs ---------------------------------------------------------------------------------------------------------

# OWNER: the uid that runs, and that owns keys and state. Where an ordinary user starts the containers, it is theirs.
FROM ${BASE}${DIGEST} AS role
ARG OWNER=10001
ENV PATH=/opt/sumroom/bin:$PATH HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 FLWR_TELEMETRY_ENABLED=0
RUN install -d -o ${OWNER} -g ${OWNER} -m 0700 /state /accounts /results && install -d /config /data
USER ${OWNER}:${OWNER}
WORKDIR /tmp

FROM role AS party
COPY --from=party-dependencies /opt/sumroom /opt/sumroom
COPY --from=party-package /package/ /
VOLUME ["/state", "/accounts"]
ENTRYPOINT ["sumroom-party"]
CMD ["start", "--config", "/config/node.toml"]

FROM role AS coordinator
COPY --from=coordinator-dependencies /opt/sumroom /opt/sumroom
COPY --from=coordinator-package /package/ /
VOLUME ["/state"]
EXPOSE 7443
ENTRYPOINT ["sumroom-coordinator"]
CMD ["serve", "--config", "/config/coordinator.toml"]

FROM role AS auditor
COPY --from=auditor-dependencies /opt/sumroom /opt/sumroom
COPY --from=auditor-package /package/ /
ENTRYPOINT ["sumroom-audit"]
CMD ["--help"]
