"""The story of the site, told by a client that was generated from the API's document.

story.py ADDRESS NAME PASSWORD
"""

import sys
from http import HTTPStatus

from client import AuthenticatedClient, Client
from client.api.account import me
from client.api.posts import change, delete, post, posts, publish, replace
from client.api.users import log_in, user
from client.api.votes import take_back, vote
from client.models import (
    LogIn,
    Me,
    NewPost,
    Post,
    PostChange,
    PostPage,
    PostsSort,
    Problem,
    Standing,
    Token,
    User,
)


def tell(address: str, name: str, password: str) -> None:
    visitor = Client(base_url=address)

    refused = log_in.sync(client=visitor, body=LogIn(username=name, password="not it at all"))
    assert isinstance(refused, Problem) and refused.status == 401, refused
    token = log_in.sync(client=visitor, body=LogIn(username=name, password=password))
    assert isinstance(token, Token) and token.token_type == "bearer", token
    person = AuthenticatedClient(base_url=address, token=token.access_token)
    myself = me.sync(client=person)
    assert isinstance(myself, Me) and myself.username == name, myself

    wrong = publish.sync(client=person, body=NewPost(title=" ", url="nowhere"))
    assert isinstance(wrong, Problem) and wrong.errors, wrong
    assert {bad.field for bad in wrong.errors} == {"title", "url"}, wrong
    new = NewPost(title="A garden in a jar", url="https://example.org/jar", body="It has *moss*.")
    published = publish.sync_detailed(client=person, body=new)
    written = published.parsed
    assert published.status_code == HTTPStatus.CREATED and isinstance(written, Post), published
    assert published.headers["location"] == f"/api/v1/posts/{written.id}", published.headers
    again = publish.sync(client=person, body=NewPost(title="Stones"), idempotency_key="one")
    twice = publish.sync(client=person, body=NewPost(title="Stones"), idempotency_key="one")
    assert isinstance(again, Post) and isinstance(twice, Post) and again.id == twice.id, twice

    read = post.sync(written.id, client=person)
    assert isinstance(read, Post) and read == written, read
    assert (read.author, read.score, read.voted) == (name, 0, False), read
    assert read.body_html == "<p>It has <em>moss</em>.</p>\n", read

    page = posts.sync(client=person, limit=1)
    assert isinstance(page, PostPage) and [it.id for it in page.posts] == [again.id], page
    assert page.next_ is not None, page
    page = posts.sync(client=person, limit=1, after=page.next_)
    assert isinstance(page, PostPage) and [it.id for it in page.posts] == [written.id], page
    found = posts.sync(client=person, search="moss", sort=PostsSort.HOT, author=name)
    assert isinstance(found, PostPage) and [it.id for it in found.posts] == [written.id], found

    for _ in range(2):
        standing = vote.sync(written.id, client=person)
        assert isinstance(standing, Standing), standing
        assert (standing.score, standing.voted) == (1, True), standing
    for _ in range(2):
        standing = take_back.sync(written.id, client=person)
        assert isinstance(standing, Standing), standing
        assert (standing.score, standing.voted) == (0, False), standing

    changed = change.sync(written.id, client=person, body=PostChange(title="Two jars", url=None))
    assert isinstance(changed, Post) and changed.edited_at is not None, changed
    assert (changed.title, changed.url, changed.body) == ("Two jars", None, written.body), changed
    replaced = replace.sync(written.id, client=person, body=NewPost(title="Three jars"))
    assert isinstance(replaced, Post), replaced
    assert (replaced.title, replaced.body) == ("Three jars", ""), replaced

    for there in (written, again):
        gone = delete.sync_detailed(there.id, client=person)
        assert gone.status_code == HTTPStatus.NO_CONTENT, gone
        absent = post.sync(there.id, client=person)
        assert isinstance(absent, Problem) and absent.status == 404, absent
    known = user.sync(name, client=person)
    assert isinstance(known, User) and known.post_count == 0, known


if __name__ == "__main__":
    tell(*sys.argv[1:])
