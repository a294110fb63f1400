# Stand-ins for the images that docker-compose.yml names, for a machine that reaches a Debian mirror and a Python index
# but no image registry. Prometheus, Alertmanager, HAProxy and PostgreSQL are the real programs in Debian's versions; the
# Python images are Debian's Python; Grafana is a small program that reads what a real one would be provisioned with.

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

FROM stand-in/debian:bookworm AS haproxy
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends busybox haproxy >/dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && ln -s /bin/busybox /usr/local/bin/wget
STOPSIGNAL SIGUSR1
USER 99:99
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]

# The paths, users and variables are those of the official image.
FROM stand-in/debian:bookworm AS postgres
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends postgresql >/dev/null \
 && usermod --uid 999 postgres && groupmod --gid 999 postgres \
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql \
 && install -d -o postgres -g postgres -m 1777 /var/lib/postgresql /run/postgresql \
 && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/
COPY postgres_stand_in.sh /
ENV PGDATA=/var/lib/postgresql/18/docker
STOPSIGNAL SIGINT
ENTRYPOINT ["/postgres_stand_in.sh"]
