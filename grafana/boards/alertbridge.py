"""Dashboard "Alertbridge": does what Alertmanager hands over reach the people."""

from __future__ import annotations

from grafana.board import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    Bands,
    Board,
    Code,
    Curve,
    Mark,
    Meters,
    Number,
    Query,
    Section,
    Variable,
    Words,
)

TO = 'receiver=~"$receiver"'
LOCK_CODES = (Code(0, Words("free", "正常"), GREEN), Code(1, Words("locked", "被限流"), RED))
ROBOT = "{{receiver}} {{robot}}"
OUTCOME_COLOURS = (
    ("delivered", GREEN),
    ("later", YELLOW),
    ("limited", ORANGE),
    ("refused", RED),
    ("dead", "dark-red"),
)
STATE_COLOURS = (("waiting", YELLOW), ("sending", BLUE), ("dead", RED))


def counted(by: str, metric: str) -> str:
    """Gives how often something happened in each interval."""
    return f"sum by ({by}) (increase({metric}{{{TO}}}[$__rate_interval]))"


def in_range(metric: str, more: str = "") -> str:
    return f"sum(increase({metric}{{{TO}{more}}}[$__range]))"


# Several replicas share one outbox and count the same in it.
def in_outbox(state: str) -> str:
    return f'sum(max by (receiver) (alertbridge_outbox_messages{{{TO}, state="{state}"}}))'


NOW = Section(
    Words("Now", "当前"),
    (
        Number(
            Words("Up", "在线"),
            Words("Bridges that answer the scrape.", "可抓取的告警桥数量。"),
            "none",
            (Query("count(alertbridge_build_info)"),),
            width=3,
            decimals=0,
            steps=((None, RED), (1, GREEN)),
        ),
        Number(
            Words("Received", "收到"),
            Words(
                "Notifications taken from Alertmanager in the time shown, repeats included.",
                "所选时间内从 Alertmanager 收到的通知数，含重复。",
            ),
            "short",
            (Query(in_range("alertbridge_notifications_received_total")),),
            width=3,
            decimals=0,
        ),
        Number(
            Words("Delivered", "送达"),
            Words(
                "Messages that the robots took in the time shown. "
                "Fewer than received: several were told as one.",
                "所选时间内机器人接受的消息数。少于收到数，是因为多条合并成一条。",
            ),
            "short",
            (Query(in_range("alertbridge_messages_total", ', outcome="delivered"')),),
            width=3,
            decimals=0,
        ),
        Number(
            Words("Waiting", "等待"),
            Words("Notifications in the outbox that are still to be told.", "发件箱中尚待发送的通知数。"),
            "none",
            (Query(f"{in_outbox('waiting')} + {in_outbox('sending')}"),),
            width=3,
            decimals=0,
            steps=((None, GREEN), (20, YELLOW), (100, RED)),
        ),
        Number(
            Words("Oldest", "最久等待"),
            Words(
                "How long the oldest notification has waited. Beyond 5 minutes the alert fires.",
                "最早一条通知已等待的时间，超过 5 分钟告警。",
            ),
            "s",
            (Query(f"max(alertbridge_outbox_oldest_seconds{{{TO}}})"),),
            width=3,
            steps=((None, GREEN), (60, YELLOW), (300, RED)),
        ),
        Number(
            Words("Given up", "已放弃"),
            Words(
                "Dead letters: `alertbridge outbox list` has the reasons, `outbox retry` sends them again.",
                "死信：原因见 alertbridge outbox list，可用 outbox retry 重发。",
            ),
            "none",
            (Query(in_outbox("dead")),),
            width=3,
            decimals=0,
            steps=((None, GREEN), (1, RED)),
        ),
        Number(
            Words("Robots locked", "被限流的机器人"),
            Words(
                "For too many messages; DingTalk's lock lasts "
                "ten minutes. The bridge waits, nothing is lost.",
                "因发送过多被锁定（钉钉为十分钟）的机器人数。告警桥会等待，消息不会丢失。",
            ),
            "none",
            (Query(f"sum(max by (receiver, robot) (alertbridge_robot_limited{{{TO}}}))"),),
            width=3,
            decimals=0,
            steps=((None, GREEN), (1, RED)),
        ),
        Number(
            Words("Configuration", "配置"),
            Words(
                "Whether the file in force is the one on disk. If not, "
                "the last reload was refused and the old one goes on.",
                "生效的配置是否与磁盘文件一致；否则说明上次重新加载被拒绝，仍沿用旧配置。",
            ),
            "none",
            (Query("min(alertbridge_config_last_reload_successful)"),),
            width=3,
            codes=(Code(1, Words("OK", "正常"), GREEN), Code(0, Words("refused", "被拒绝"), RED)),
        ),
    ),
)

WAY = Section(
    Words("The way of a message", "消息的路径"),
    (
        Curve(
            Words("Received", "收到的通知"),
            Words(
                "Notifications from Alertmanager, by receiver.", "从 Alertmanager 收到的通知数，按接收人。"
            ),
            "short",
            (Query(counted("receiver", "alertbridge_notifications_received_total"), "{{receiver}}"),),
            width=8,
            low=0,
            bars=True,
            stacked=True,
        ),
        Curve(
            Words("Attempts", "发送尝试"),
            Words(
                "By how they ended. Later: tried again; limited: too many "
                "messages; refused: another robot or plain text is tried; "
                "dead: given up.",
                "按结果：later 为稍后重试；limited 为被限流；refused 为换机器人或纯文本再试；dead 为放弃。",
            ),
            "short",
            (Query(counted("outcome", "alertbridge_messages_total"), "{{outcome}}"),),
            width=8,
            low=0,
            bars=True,
            stacked=True,
            colours=OUTCOME_COLOURS,
        ),
        Curve(
            Words("Errors", "错误"),
            Words(
                "Attempts that failed, by the robot's errcode or the kind of failure.",
                "失败的尝试，按机器人返回的 errcode 或失败类型。",
            ),
            "short",
            (
                Query(
                    f"{counted('receiver, errcode', 'alertbridge_errors_total')}",
                    "{{receiver}} {{errcode}}",
                ),
            ),
            width=8,
            low=0,
            bars=True,
            stacked=True,
            absent="only where an attempt has failed",
        ),
        Curve(
            Words("From webhook to robot", "从收到到送达"),
            Words(
                "Time from Alertmanager's webhook to the robot's errcode "
                "0: half of the messages, and 95 in 100, are faster.",
                "从收到 webhook 到机器人返回 errcode 0 的时间：50% 与 95% 的消息比这更快。",
            ),
            "s",
            (
                Query(
                    "histogram_quantile(0.5, sum by (le) "
                    "(rate(alertbridge_delivery_seconds_bucket[$__rate_interval])))",
                    "p50",
                ),
                Query(
                    "histogram_quantile(0.95, sum by (le) "
                    "(rate(alertbridge_delivery_seconds_bucket[$__rate_interval])))",
                    "p95",
                ),
            ),
            width=8,
            low=0,
            every="10m",
        ),
        Curve(
            Words("Repeats and late news", "重复与过时"),
            Words(
                "Notifications that told nothing new: a duplicate of "
                "another Alertmanager, or a firing already seen resolved.",
                "没有新内容的通知：另一个 Alertmanager 的重复，或已知恢复的过时触发。",
            ),
            "short",
            (Query(counted("reason", "alertbridge_notifications_dropped_total"), "{{reason}}"),),
            width=8,
            low=0,
            bars=True,
            stacked=True,
        ),
        Curve(
            Words("Time to answer", "应答时间"),
            Words(
                "How long a request takes, 95 in 100 are faster. "
                "Alertmanager gives up after 10 s and asks again.",
                "处理请求的时间（95% 更快）。Alertmanager 等待 10 秒后会重发。",
            ),
            "s",
            (
                Query(
                    "histogram_quantile(0.95, sum by (le)"
                    " (rate(alertbridge_request_duration_seconds_bucket[$__rate_interval])))",
                    "p95",
                ),
            ),
            width=8,
            low=0,
            every="10m",
        ),
    ),
)

OUTBOX = Section(
    Words("Outbox and robots", "发件箱与机器人"),
    (
        Curve(
            Words("Outbox", "发件箱"),
            Words("Notifications that are still to be told, or given up.", "尚待发送或已放弃的通知数。"),
            "short",
            (
                Query(
                    f"sum by (state) (max by (receiver, state)"
                    f' (alertbridge_outbox_messages{{{TO}, state!="delivered"}}))',
                    "{{state}}",
                ),
            ),
            low=0,
            stacked=True,
            colours=STATE_COLOURS,
        ),
        Curve(
            Words("Oldest waiting notification", "最早的待发通知"),
            Words(
                "Age by receiver; at the dashed line the alert fires.",
                "各接收人最早待发通知的等待时间；到达虚线即告警。",
            ),
            "s",
            (Query(f"max by (receiver) (alertbridge_outbox_oldest_seconds{{{TO}}})", "{{receiver}}"),),
            low=0,
            limit=300,
        ),
        Curve(
            Words("Budget left", "剩余额度"),
            Words(
                "Messages that a robot can take in its window now "
                "(DingTalk: 20 a minute). Some are kept for critical alerts.",
                "机器人在当前窗口内还能发送的消息数（钉钉每分钟 20 条），其中一部分留给严重告警。",
            ),
            "short",
            (Query(f"min by (receiver, robot) (alertbridge_robot_budget{{{TO}}})", ROBOT),),
            low=0,
        ),
        Meters(
            Words("Quota of the month", "本月配额"),
            Words(
                "Part of a robot's monthly calls that is spent. From 80 % on the alert fires.",
                "机器人本月已用的调用配额；超过 80% 告警。",
            ),
            "percentunit",
            (
                Query(
                    f"max by (receiver, robot) (alertbridge_robot_month_messages{{{TO}}})"
                    f" / (max by (receiver, robot) (alertbridge_robot_month_quota{{{TO}}}) > 0)",
                    ROBOT,
                ),
            ),
            high=1,
            decimals=1,
            steps=((None, GREEN), (0.6, YELLOW), (0.8, RED)),
        ),
        Bands(
            Words("Locks", "限流"),
            Words("When a robot was locked for too many messages.", "机器人因发送过多被锁定的时段。"),
            "none",
            (Query(f"max by (receiver, robot) (alertbridge_robot_limited{{{TO}}})", ROBOT),),
            height=5,
            codes=LOCK_CODES,
        ),
    ),
)

ALERTBRIDGE = Board(
    uid="epochwatch-alertbridge",
    title=Words("Alertbridge", "告警桥"),
    description=Words(
        "The way from Alertmanager to DingTalk, Feishu and "
        "WeCom: what was received, delivered, waits or failed.",
        "从 Alertmanager 到钉钉、飞书、企业微信的路径：收到、送达、等待与失败。",
    ),
    variables=(
        Variable(
            "receiver",
            Words("Receiver", "接收人"),
            "label_values(alertbridge_notifications_received_total, receiver)",
            several=True,
        ),
    ),
    sections=(NOW, WAY, OUTBOX),
    marks=(
        Mark(
            Words("Alerts", "告警"),
            'ALERTS{alertname=~"Alertbridge.*", alertstate="firing"}',
            "{{alertname}}",
            "{{receiver}}",
            RED,
            absent="only where something is wrong",
        ),
    ),
)
