"""No secret leaves the process in an event."""

import pytest

from epochwatch.masking import masked, masked_command

ENVIRON = {
    "DINGTALK_WEBHOOK": "https://oapi.dingtalk.com/robot/send?access_token=5f0d9a7c21e8",
    "DINGTALK_SECRET": "SECabc",
    "WANDB_API_KEY": "local-7391aa02",
    "DATABASE_URL": "postgresql://trainer:p%40ss-word@db/train",
    "SIGNING_KEY": "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----",
    "TOKENIZERS_PARALLELISM": "disabled-here",
    "HF_TOKEN": "none",
    "HOME": "/home/trainer",
    "MODEL_NAME": "bert-large",
}

LEAKS = [
    (
        "posting to https://x/send?access_token=5f0d9a7c21e8 failed",
        "posting to https://x/send?access_token=*** failed",
    ),
    ("token 5f0d9a7c21e8 refused", "token *** refused"),
    ("SECabc", "***"),
    ("key is local-7391aa02!", "key is ***!"),
    ("password authentication failed: p%40ss-word", "password authentication failed: ***"),
    ("password authentication failed: p@ss-word", "password authentication failed: ***"),
    ("could not parse MIIEvQIBADANBg", "could not parse ***"),
    ("connect to mysql://root:hunter2@db:3306/x", "connect to mysql://***@db:3306/x"),
    ('login(user="me", password="hunter2")', 'login(user="me", password="***")'),
    ("""headers["api_key"] = 'abc def'""", """headers["api_key"] = '***'"""),
    ('{"client_secret": "xyz"}', '{"client_secret": "***"}'),
    ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
    ("Basic dXNlcjpwYXNz", "Basic ***"),
    ("bad auth_token=q1w2e3r4", "bad auth_token=***"),
    ("GET https://s3/x?X-Amz-Signature=ab12&part=1", "GET https://s3/x?X-Amz-Signature=***&part=1"),
    ("https://open.feishu.cn/open-apis/bot/v2/hook/9f-1", "https://open.feishu.cn/open-apis/bot/v2/hook/***"),
    ("hf_abcdefghijklmnopqrstuv is invalid", "*** is invalid"),
    ("ghp_0123456789abcdefghij", "***"),
    ("AKIAIOSFODNN7EXAMPLE", "***"),
    ("SEC0123456789abcdef0123", "***"),
    ("a" * 64, "***"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sig", "***"),
]


@pytest.mark.parametrize(("text", "shown"), LEAKS, ids=[text[:30] for text, _ in LEAKS])
def test_what_is_or_looks_like_a_secret_is_masked(text: str, shown: str) -> None:
    """Values of secret variables, parts of secret addresses, and everything of a known form become stars."""
    assert masked(text, ENVIRON) == shown


HARMLESS = [
    "mat1 and mat2 shapes cannot be multiplied (64x784 and 512x10)",
    "token = next(tokens)",
    "for token in tokenizer(text): ids.append(token.id)",
    "sorted(samples, key=lambda sample: sample.length)",
    "KeyError: 'label'",
    "loss = model(batch, key=index)",
    "the checkpoint of bert-large in /home/trainer/run1 is none",
    "commit 5ca3634d0f9e8b7a6c5d4e3f2a1b0c9d8e7f6a5b",
    "tokenizers are disabled-here",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_helps_to_find_the_cause_stays(text: str) -> None:
    """Ordinary messages and source lines are shown as they are, also those that speak of tokens and keys."""
    assert masked(text, ENVIRON) == text


def test_further_secrets_are_masked_the_longest_first() -> None:
    """Of two secrets of which one is part of the other nothing remains."""
    assert masked("abc-def and abc", {}, ["abc", "abc-def", ""]) == "*** and ***"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("train.py --token abc --lr 0.1", "train.py --token *** --lr 0.1"),
        ("train.py --hf-token=hunter2", "train.py --hf-token=***"),
        ("train.py --wandb_api_key k1 data", "train.py --wandb_api_key *** data"),
        ("train.py --password --verbose", "train.py --password --verbose"),
        (
            "train.py --max-tokens 512 --tokenizer bpe --keys 3",
            "train.py --max-tokens 512 --tokenizer bpe --keys 3",
        ),
        ("train.py --key-file id.pem -k v", "train.py --key-file *** -k v"),
    ],
)
def test_secrets_of_a_command_line_are_masked(command: str, shown: str) -> None:
    """The word after a telling flag, or behind its equals sign; nothing else."""
    assert " ".join(masked_command(command.split())) == shown
