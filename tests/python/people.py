"""Whose token schemathesis shows. Its checks take it away, spoil it and put it back."""

import itertools
import json
import os
import urllib.parse
import urllib.request

import schemathesis

API = os.environ["API"]
# As the document has it in its examples, so that those change a password that is there.
PASSWORD = "violet kettle 9 harbour"

# They end their own caller's token for good.
ENDING = ["/api/v1/users/me/deletion", "/api/v1/users/me/password"]

numbers = itertools.count()


def ask(path: str, body: bytes, content_type: str) -> dict[str, str]:
    request = urllib.request.Request(API + path, body, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def log_in(name: str) -> str:
    form = urllib.parse.urlencode({"username": name, "password": PASSWORD}).encode()
    return ask("/login", form, "application/x-www-form-urlencoded")["access_token"]


class Bearer:
    def set(self, case, data, context) -> None:
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.auth(refresh_interval=None).apply_to(path=ENDING)
class SomebodyNew(Bearer):
    """Each time another."""

    def get(self, case, context) -> str:
        name = f"leaving-{next(numbers)}"
        person = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
        ask("/users", json.dumps(person).encode(), "application/json")
        return log_in(name)


@schemathesis.auth().skip_for(path=ENDING)
class Ada(Bearer):
    """Logged in again after each 401: some operations end all tokens."""

    def get(self, case, context) -> str:
        return log_in("ada")
