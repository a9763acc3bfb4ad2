# The environment of the benchmark, with the versions of requirements.lock. The code is not in it, so
# an edit needs no new image: mount the project at /work.
#
#   docker build -t mdkd .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" mdkd snakemake --cores all
FROM python:3.12-slim-bookworm

COPY requirements.lock /opt/mdkd/requirements.lock
RUN pip install --no-cache-dir --no-deps -r /opt/mdkd/requirements.lock

# A user of any number may run it, also one that has no name and no home here.
ENV HOME=/tmp USER=mdkd PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
WORKDIR /work
CMD ["snakemake", "--cores", "all"]
