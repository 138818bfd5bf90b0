"""The requests sent to each server, and their names in the tables."""

import random
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from load import FORM, Request, Statements, Web
from database import as_pgbench
from servers import PASSWORD
from system import Failure

HERE = Path(__file__).resolve().parent.parent
ENCODINGS = {"": {}, "-gzip": {"Accept-Encoding": "gzip"}, "-br": {"Accept-Encoding": "br"}}
WORDS = ("common", "middling", "rare", "absent")
# The rows of the comparison, apart from those that send a password.
PAGES = ["feed", "feed-gzip", "feed-br", "feed-pages", "post", "post-gzip", "post-br", "post-pages",
         *(f"search-{word}" for word in WORDS), "api-list", "feed-in", "feed-in-br", "feed-in-fresh", "vote", "vote-hot"]
PASSWORDS = ["sign-up", "log-in"]
# The rows for growth. With one connection no request waits for another, so the time is the request's own.
GROWING = ["feed", "feed-pages", "feed-deep", "feed-in", "post-pages", *(f"search-{word}" for word in WORDS), "api-list", "vote"]
# Syllables that are in no text: see sql/posts.sql for those that are.
NOWHERE = ["bol", "gar", "fim", "zet", "quo", "hul", "wex", "jad"]


@dataclass
class Sample:
    """Some posts and words of a database, and accounts of its site that are logged in."""

    site: object
    people: list
    posts: list
    pages: list
    words: dict

    @staticmethod
    def of(site, people, depth):
        database = site.database
        posts = [int(row[0]) for row in database.sql(
            f"select id from posts where id in (select 1000 + (random() * {database.posts - 1001})::bigint from generate_series(1, 5000))")]
        rare = [row[0] for row in database.sql(
            f"select rtrim(substring(split_part(body, E'\\n\\n', 1) from '\\S+$'), '.') from posts where id in ({','.join(map(str, posts[:300]))})")]
        words = (HERE / "words.txt").read_text().split()
        begin = words.index("time")
        return Sample(site, site.people(people), posts, site.walk(depth), {
            "common": words[begin:begin + 30], "middling": words[-150:], "rare": rare,
            "absent": ["".join(random.choices(NOWHERE, k=3)) for _ in range(300)],
        })

    def newest(self):
        return self.site.database.posts

    def pages_of(self, kind):
        """The requests for a kind of page; they change nothing."""
        person = [{"Cookie": cookie} for _, _, cookie in self.people]
        fixed = {
            "feed": lambda: [Request("/")],
            "feed-pages": lambda: shuffled([Request(page) for page in self.pages]),
            # The deepest pages of the feed that were visited.
            "feed-deep": lambda: [Request(page) for page in self.pages[-50:]],
            "feed-in": lambda: [Request("/", headers=cookie) for cookie in person],
            # A member who has just written gets a list that is not shared.
            "feed-in-fresh": lambda: [Request("/", headers={"Cookie": f"{cookie['Cookie']}; wrote=1"}) for cookie in person],
            "feed-in-br": lambda: [Request("/", headers={**cookie, **ENCODINGS["-br"]}) for cookie in person],
            "post": lambda: [Request(f"/posts/{self.newest()}")],
            "post-pages": lambda: shuffled([Request(f"/posts/{post}") for post in self.posts]),
            "api-list": lambda: [Request("/api/v1/posts?limit=10")],
        }
        for suffix, headers in ENCODINGS.items():
            fixed["feed" + suffix] = lambda headers=headers: [Request("/", headers=headers)]
            fixed["post" + suffix] = lambda headers=headers: [Request(f"/posts/{self.newest()}", headers=headers)]
        for word, words in self.words.items():
            fixed[f"search-{word}"] = lambda words=words: [Request(f"/search?q={each}") for each in words]
        return fixed[kind]()

    def votes(self, seconds):
        """Votes of all accounts for random posts; few are repeated."""
        return [vote_request(random.choice(self.people), random.choice(self.posts), 1) for _ in range(seconds * 5000)]

    def votes_for_one(self, seconds):
        """Votes cast and withdrawn by all accounts, for one post."""
        return [vote_request(random.choice(self.people), self.posts[0], random.randrange(2)) for _ in range(seconds * 5000)]

    def targets(self, kinds, seconds, site=None, who="site"):
        """The targets of the site."""
        changing = {"vote": self.votes, "vote-hot": self.votes_for_one}
        return [
            Web(kind, who, site or self.site, lambda kind=kind: changing[kind](seconds), changes=True) if kind in changing
            else Web(kind, who, site or self.site, lambda kind=kind: self.pages_of(kind))
            for kind in kinds
        ]


def shuffled(requests):
    return random.sample(requests, len(requests))


def vote_request(person, post, value):
    _, _, cookie = person
    return Request(f"/posts/{post}/vote", "POST", {**FORM, "Cookie": cookie}, f"value={value}")


def sign_ups(seconds):
    names = [f"new-{secrets.token_hex(6)}" for _ in range(seconds * 300)]
    return [Request("/signup", "POST", FORM, urlencode({"username": name, "email": f"{name}@example.org", "password": PASSWORD}))
            for name in names]


def log_ins(people):
    return [Request("/login", "POST", FORM, urlencode({"login": name, "password": PASSWORD})) for name, _, _ in people]


def site_targets(sample, others, seconds):
    """All targets of the site. `others` are used for log-ins, because frequent log-ins end an account's oldest sessions."""
    return [
        *sample.targets(PAGES, seconds),
        Web("sign-up", "site", sample.site, lambda: sign_ups(seconds), changes=True),
        Web("log-in", "site", sample.site, lambda: log_ins(others)),
    ]


REMEMBERED = [page + suffix for page in ("feed", "post") for suffix in ENCODINGS]


def memory_targets(sample, memory):
    return [
        *(Web(kind, "memory", memory, lambda kind=kind: sample.pages_of(kind)) for kind in REMEMBERED),
        # A password hash and nothing else.
        *(Web(kind, "memory", memory, lambda: [Request("/hash", "POST")]) for kind in PASSWORDS),
    ]


def statements_of(sample):
    """The statements of each kind of request, taken from the server's log while the site responds to one."""
    site, database = sample.site, sample.site.database
    kinds = ["feed", "feed-pages", "post", "post-pages", "search-common", "search-absent", "api-list", "feed-in", "feed-in-fresh"]
    found = {}
    for kind in kinds:
        request = sample.pages_of(kind)[0]
        for _ in range(3):
            site.send(request)
        found[kind] = database.statements(lambda: site.send(request))
    person, post = sample.people[0], sample.posts[1]
    site.send(vote_request(person, post, 0))
    found["vote"] = database.statements(lambda: site.send(vote_request(person, post, 1)))
    if len(found["feed-in"]) == 0 or len(found["vote"]) == 0:
        raise Failure("the server's log shows no statement of the site: is log_statement overridden?")
    return found


def database_targets(sample, statements, pool):
    """The same statements in pgbench: with as many connections as the load has, and as the site's pool has."""
    _, voter, _ = sample.people[0]
    ids = sorted(person for _, person, _ in sample.people)
    if ids[-1] - ids[0] != len(ids) - 1:
        raise Failure("the ids of the benchmark's accounts are not consecutive: did someone else sign up?")
    variables = f"\\set post random(1, {sample.site.database.posts})\n\\set voter random({ids[0]}, {ids[-1]})\n"
    targets = []
    for kind in ("feed-in", "feed-in-fresh", "vote"):
        names = {str(sample.posts[1]): "post", str(voter): "voter"} if kind == "vote" else {}
        script, constants = as_pgbench(statements[kind], names)
        for clients in (None, pool):
            targets.append(Statements(kind, sample.site.database, script, constants, variables if names else "", clients))
    return targets


def peer_targets(sample, peer, seconds):
    """The closest equivalents in the FastAPI app. `feed` is its own query, `feed-same-sql` the site's, which its authors
    would have had to write first."""
    tokens = [{"Authorization": f"Bearer {token}", "Content-Type": "application/json"} for token in peer.tokens(32)]
    json = {"Content-Type": "application/json"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def votes():
        return [Request("/vote", "POST", random.choice(tokens), f'{{"post_id":{random.choice(sample.posts)},"dir":1}}')
                for _ in range(seconds * 2000)]

    def sign_ups():
        return [Request("/users", "POST", json, f'{{"email":"{secrets.token_hex(8)}@example.com","password":"{PASSWORD}"}}')
                for _ in range(seconds * 100)]

    def page(kind, path):
        return Web(kind, "peer", peer, lambda: [Request(path)])

    return [
        page("feed", "/html/byid"),
        page("feed-same-sql", "/html/tuned"),
        Web("post-pages", "peer", peer, lambda: [Request(f"/posts/{post}") for post in sample.posts]),
        Web("search-middling", "peer", peer, lambda: [Request(f"/posts?search={word}") for word in sample.words["middling"]]),
        page("api-list", "/posts?limit=10"),
        Web("vote", "peer", peer, votes, changes=True),
        Web("sign-up", "peer", peer, sign_ups, changes=True),
        Web("log-in", "peer", peer, lambda: [
            Request("/login", "POST", form, urlencode({"username": f"user{n}@example.com", "password": "password1"}))
            for n in range(1, 65)]),
    ]
