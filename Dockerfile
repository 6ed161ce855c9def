# The one image of both homes: streams on AWS Lambda behind its web adapter, and runs on ECS as it is.
ARG PYTHON=python:3.13-slim
ARG ADAPTER=public.ecr.aws/awsguru/aws-lambda-adapter:1.1.0

FROM ${ADAPTER} AS adapter

FROM ${PYTHON} AS build
WORKDIR /build
COPY requirements/tools.txt .
RUN pip install --quiet --no-cache-dir --require-hashes --only-binary :all: -r tools.txt
COPY scripts scripts
COPY requirements/app.txt .
RUN scripts/install-packages app.txt /packages /srv/headwater
COPY app /own/app
RUN scripts/byte-compile /own /srv/headwater

FROM ${PYTHON}
# The official image comes without the standard library's byte code, and nothing here can be written at the start.
RUN stdlib=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      -x '/(test|idlelib|ensurepip|site-packages|dist-packages)/' "$stdlib" \
 && find "$stdlib" \( -type d -o -name '*.pyc' \) -exec touch -d @0 {} +
# On Lambda, whatever lies here is started beside the command; elsewhere nothing starts it.
COPY --from=adapter /lambda-adapter /opt/extensions/lambda-adapter
COPY --from=build /packages /srv/headwater
COPY --from=build /own /srv/headwater
# SnapStart refuses an image that is not one of Lambda's own, unless it says that it can be resumed from a snapshot.
LABEL com.amazonaws.lambda.feature.snapstart="Allow"
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HEADWATER_HOST=0.0.0.0 \
    HEADWATER_PORT=8080 \
    AWS_LWA_INVOKE_MODE=response_stream \
    AWS_LWA_PORT=8080 \
    AWS_LWA_READINESS_CHECK_PATH=/livez \
    AWS_LWA_PASS_THROUGH_PATH=/events \
    AWS_LWA_ERROR_STATUS_CODES=599 \
    AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH=/_snapstart/before-checkpoint \
    AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH=/_snapstart/after-restore
WORKDIR /srv/headwater
USER 65532:65532
EXPOSE 8080
CMD ["python", "-m", "app"]
