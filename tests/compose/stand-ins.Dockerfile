# Stand-ins for the images that docker-compose.yml names, for a machine that reaches a Debian mirror and a Python index
# but no image registry. Prometheus and Alertmanager are the real programs in Debian's versions; the Python images are
# Debian's Python; Grafana is a program of twelve lines that reads what a real one would be provisioned with.

FROM stand-in/debian:bookworm AS python
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends python3 python3-pip python3-venv >/dev/null \
 && rm -rf /var/lib/apt/lists/* /usr/lib/python3*/EXTERNALLY-MANAGED

FROM python AS pytorch
RUN python3 -m pip install -q --no-cache-dir --no-index --no-deps 'torch>=2.4' 2>/dev/null || true
RUN python3 -m pip install -q --no-cache-dir 'torch>=2.4' 'numpy>=1.26' 2>/dev/null

FROM stand-in/debian:bookworm AS prometheus
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends busybox prometheus >/dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && ln -s /bin/busybox /usr/local/bin/wget \
 && install -d -o 65534 -g 65534 /prometheus \
 && rm -r /etc/prometheus
USER 65534:65534
ENTRYPOINT ["/usr/bin/prometheus"]

FROM stand-in/debian:bookworm AS alertmanager
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends busybox prometheus-alertmanager >/dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && ln -s /bin/busybox /usr/local/bin/wget \
 && install -d -o 65534 -g 65534 /alertmanager
USER 65534:65534
ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]

FROM python AS grafana
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends busybox >/dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && ln -s /bin/busybox /usr/local/bin/wget \
 && install -d -o 472 -g 0 /var/lib/grafana
COPY grafana_stand_in.py /
USER 472:0
ENTRYPOINT ["python3", "/grafana_stand_in.py"]
