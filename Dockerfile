# docker build -t r329fast . && docker run --rm -v "$PWD":/work r329fast demo
FROM python:3.12-slim
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir ".[eval]" && rm -rf /src
# Kernels are compiled for the CPU that builds the image; another one compiles its own on first use.
ENV NUMBA_CACHE_DIR=/var/cache/r329fast
RUN r329fast info --warmup
WORKDIR /work
ENTRYPOINT ["r329fast"]
CMD ["--help"]
