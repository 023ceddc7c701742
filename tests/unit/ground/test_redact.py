"""What may be written down: no secrets, in a time that grows with the text and no faster."""

import json
import math
import re

import pytest
from hypothesis import given, strategies as st

from uno import settings
from uno.redact import LONGEST, brief, clean, redact

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer eyJhbGci.hunter2.c2ln",
        "Authorization: Basic hunter2",
        "{'authorization': 'Bearer hunter2-abc'}",
        "(b'cookie', b'session=hunter2')",
        "Cookie: theme=dark; session=hunter2",
        "called with Bearer hunter2-abcdef",
        "a token eyJhbGciOiJIUzI1NiJ9.hunter2.sig came",
        "{'password': 'hunter2'}",
        '{"password":"hunter2"}',
        r'{"body": "{\"password\":\"hunter2\"}"}',
        r'{"password":"a\"hunter2"}',
        "Login(name='ada', password='a b hunter2')",
        "password: hunter2",
        "password = hunter2",
        "PGPASSWORD=hunter2",
        "AWS_SECRET_ACCESS_KEY=hunter2",
        "pwd=hunter2 passphrase=hunter2 otp=hunter2 session_id=hunter2 jwt=hunter2 access_key=hunter2",
        "UNO_JWT_SECRET_KEY=hunter2",
        "{'secret_key': 'hunter2', 'a': 1}",
        "private_key_pem=hunter2 token_value=hunter2 password1=hunter2 otp_code=hunter2 encryption_key=hunter2",
        "token: Bearer hunter2.def.ghi, refresh_token=Bearer hunter2.y and X-Auth-Token: bearer hunter2",
        "signing_key=hunter2 secret-key: hunter2 SecretKey=hunter2",
        "tokenValue=hunter2 secretKey: hunter2",
        'UNO_JWT_VERIFICATION_KEYS={"old": "hunter2", "older": "hunter2"}',
        "tokens=['hunter2', 'hunter2']",
        "[('user_password', 'hunter2'), ('a', 'b')]",
        "postgresql://ada:hunter2@h/d",
        "postgresql://ada:p hunter2@h/d",
        "postgresql://ada:p'hunter2@h/d",
        'postgresql://ada:p"q@hunter2@h/d',
        "postgresql://ada:p@hunter2@h/d",
        "postgresql://ada:p/hunter2@h/d",
        "redis://:hunter2@h",
        "INSERT failed\n[SQL: INSERT INTO t VALUES ($1)]\n[parameters: ('hunter2',)]",
        'duplicate key value violates "users_email"\nDETAIL:  Key (email)=(hunter2) already exists.',
        "null value\nDETAIL:  Failing row contains (1, a\nhunter2).\nHINT:  none",
        'invalid input syntax for type integer: "hunter2"',
        "invalid input for query argument $1: 'hunter2' (expected int)",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_a_secret_is_not_written_down(text: str) -> None:
    assert SECRET not in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "no token given, and the bearer token is missing",
        "bearer authentication. Basic authentication is off",
        'WWW-Authenticate: Bearer realm="uno"',
        "the tokens of 5 passwords; tokenize=1",
        "UNO_JWT_LEEWAY: must be a number; UNO_JWT_ACCESS_TOKEN_EXPIRE_MINUTES=5; token_type=mac",
        "('user', 'ada'), ('fields', 'password, email')",
        "http://localhost:8000/docs was asked by ada@example.org",
        "{'url': 'http://h:80', 'mail': 'ada@example.org'}",
        "desktop=1, and the option=2",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "field",
    [
        "secret_key",
        "encryptionKey",
        "pwd",
        "passphrase",
        "jwt",
        "bearer",
        "access_key",
        "session_id",
        "sessionId",
        "otp",
        "OTP_code",
        "x-api-key",
    ],
)
def test_fields_with_a_telling_name_are_hidden(field: str) -> None:
    assert clean({"deep": [{field: SECRET}], "desktop": "x"}) == {"deep": [{field: "***"}], "desktop": "x"}


SECTIONS = [one for one in vars(settings).values() if isinstance(one, type) and issubclass(one, settings.Section)]
SECRETS = [
    f"{section.model_config.get('env_prefix')}{name.upper()}"
    for section in SECTIONS
    for name, field in section.model_fields.items()
    if "SecretStr" in str(field.annotation) and not name.endswith(("url", "headers"))
]


@pytest.mark.parametrize("variable", SECRETS)
def test_no_secret_of_the_settings_is_written_down(variable: str) -> None:
    for text in (f"{variable}={SECRET}", f"{{'{variable.lower()}': '{SECRET}'}}", f'{variable}={{"k": "{SECRET}"}}'):
        assert SECRET not in redact(text)
    assert clean({variable: SECRET}) == {variable: "***"}


# One that takes time with the square of its length would not come to its end.
@pytest.mark.parametrize(
    "bit",
    [
        *(
            "://:",
            "@",
            "password=",
            "a:",
            "://a:p ",
            "://a:'",
            "password='",
            '"',
            "\\",
            "eyJ",
            "-eyJabcdefghi",
            "bearer ",
        ),
        *(
            "DETAIL:  ",
            "invalid input syntax for ",
            "cookie ",
            "-----BEGIN ",
            'value "',
            "token: \t",
            "://a",
            "token_",
            "secret=(",
            "('a_token",
            "\nDETAIL: ",
        ),
    ],
)
def test_a_megabyte_of_anything_comes_to_its_end(bit: str) -> None:
    text = "/" + bit * (1_000_000 // len(bit))
    assert len(redact(text)) <= 2 * len(text)
    assert len(brief(text)) < LONGEST + 100


SLOW_BUT_PLAIN = re.compile(r"(://[^:/@\s]*:)[^\s\"'<>]+(@)")


@given(st.text(alphabet="a:/@ ", max_size=40))
def test_what_the_plain_pattern_for_urls_hides_is_hidden(text: str) -> None:
    hidden = redact("x" + text)
    assert not [one for one in SLOW_BUT_PLAIN.finditer(hidden) if not one[0].endswith("***@")]


@given(
    st.lists(st.sampled_from(["://", ":", "@", "password=", "'", '"', "\\", "\n", "DETAIL:  ", "Bearer ", "é9", " "]))
)
def test_no_text_breaks_it(bits: list[str]) -> None:
    assert isinstance(redact("".join(bits)), str)


def test_of_a_long_text_the_beginning_and_the_end_are_written_down() -> None:
    text = brief("begin " + "x" * 100_000 + " end")
    assert (text[:6], text[-4:]) == ("begin ", " end")
    assert "characters left out" in text
    assert brief("x" * LONGEST) == "x" * LONGEST


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_whatever_is_cleaned_has_a_json_form() -> None:
    endless: list[object] = []
    endless.append(endless)
    given = {1: math.nan, "1e": math.inf, None: Mute(), "o": {1, 2}, "n": 10**5000, "s": "\ud800", "l": endless}
    json.dumps(clean(given), allow_nan=False, ensure_ascii=False).encode()
