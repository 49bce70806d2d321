# The image of `boundary` in sidecar.yaml.
FROM debian:stable-slim
RUN apt-get update && apt-get install -y --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*
