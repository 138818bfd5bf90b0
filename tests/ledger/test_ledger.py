"""The check of the ledger finds what was planted. `PYTHONPATH=tests python3 -m unittest ledger.test_ledger`"""

import unittest

from ledger.ledger import ACKNOWLEDGED, LATE, REFUSED, UNKNOWN, Ledger, Register


class Planted(unittest.TestCase):
    def setUp(self):
        self.now = 0.0
        self.ledger = Ledger(clock=lambda: self.now)

    def write(self, writes, value, outcome):
        write = self.ledger.intend("test", writes, value)
        self.ledger.settle("test", write, outcome)
        return write

    def published(self, title, outcome=ACKNOWLEDGED, address="/posts/1"):
        post = self.ledger.post("ada", title, "text 0")
        self.write(post.attempts, True, outcome)
        if outcome == ACKNOWLEDGED:
            post.addresses.append(address)
        return post

    def kinds(self, findings):
        return [finding.kind for finding in findings]


class Posts(Planted):
    def check(self, stored):
        return self.kinds(self.ledger.check_posts(stored))

    def test_an_acknowledged_post_is_there_once_with_its_text(self):
        self.published("a")
        self.assertEqual(self.check({"a": {"/posts/1": "text 0"}}), [])
        self.assertEqual(self.check({}), ["lost"])
        self.assertEqual(self.check({"a": {"/posts/1": "text 0", "/posts/2": "text 0"}}), ["duplicate"])
        self.assertEqual(self.check({"a": {"/posts/2": "text 0"}}), ["wrong"])
        self.assertEqual(self.check({"a": {"/posts/1": "another text"}}), ["wrong"])

    def test_an_unknown_post_is_there_at_most_once(self):
        self.published("a", UNKNOWN)
        self.assertEqual(self.check({}), [])
        self.assertEqual(self.check({"a": {"/posts/1": "text 0"}}), [])
        self.assertEqual(self.check({"a": {"/posts/1": "text 0", "/posts/2": "text 0"}}), ["duplicate"])

    def test_a_refused_post_and_one_that_nobody_wrote_are_wrong(self):
        self.published("a", REFUSED)
        self.assertEqual(self.check({"a": {"/posts/1": "text 0"}}), ["wrong"])
        self.assertEqual(self.check({"b": {"/posts/1": "text 0"}}), ["wrong"])

    def test_a_retry_with_the_same_key_makes_an_unknown_post_acknowledged(self):
        post = self.published("a", UNKNOWN)
        self.write(post.attempts, True, ACKNOWLEDGED)
        post.addresses.append("/posts/1")
        self.assertEqual(self.check({}), ["lost"])
        self.write(post.attempts, True, ACKNOWLEDGED)
        post.addresses.append("/posts/2")
        self.assertEqual(self.check({"a": {"/posts/1": "text 0"}}), ["duplicate"])

    def test_an_acknowledged_edit_stays_and_an_unknown_one_may(self):
        post = self.published("a")
        self.write(post.text.writes, "text 1", ACKNOWLEDGED)
        self.assertEqual(self.check({"a": {"/posts/1": "text 1"}}), [])
        self.assertEqual(self.check({"a": {"/posts/1": "text 0"}}), ["lost"])
        self.write(post.text.writes, "text 2", REFUSED)
        self.assertEqual(self.check({"a": {"/posts/1": "text 2"}}), ["wrong"])
        self.write(post.text.writes, "text 3", UNKNOWN)
        self.assertEqual(self.check({"a": {"/posts/1": "text 1"}}), [])
        self.assertEqual(self.check({"a": {"/posts/1": "text 3"}}), [])
        self.assertEqual(self.check({"a": {"/posts/1": "text 0"}}), ["lost"])

    def test_a_deleted_post_stays_deleted(self):
        post = self.published("a")
        self.write(post.is_there.writes, False, ACKNOWLEDGED)
        self.assertEqual(self.check({}), [])
        self.assertEqual(self.check({"a": {"/posts/1": "text 0"}}), ["lost"])


class Votes(Planted):
    def test_votes_are_as_acknowledged_last_and_each_score_is_its_voters(self):
        vote = self.ledger.vote("ada", "/posts/1")
        self.write(vote.writes, True, ACKNOWLEDGED)
        there, none = {("ada", "/posts/1")}, set()
        check = lambda ballots, shown: self.kinds(self.ledger.check_votes(ballots, {"/posts/1": shown}))
        self.assertEqual(check(there, {1}), [])
        self.assertEqual(check(none, {0}), ["lost"])
        self.assertEqual(check(there, {2}), ["wrong"])
        self.assertEqual(check(there, {1, 2}), ["wrong"])
        self.assertEqual(check(there | {("bob", "/posts/1")}, {2}), ["wrong"])
        self.write(vote.writes, False, UNKNOWN)
        self.assertEqual(check(there, {1}) + check(none, {0}), [])

    def test_an_unknown_write_may_take_effect_after_a_later_acknowledgement_but_not_for_ever(self):
        register = Register(0)
        self.write(register.writes, 1, UNKNOWN)
        self.now = LATE - 1
        self.write(register.writes, 2, ACKNOWLEDGED)
        self.assertEqual(register.allowed(), {1, 2})
        self.now = LATE + 1
        self.write(register.writes, 3, ACKNOWLEDGED)
        self.assertEqual(register.allowed(), {3})

    def test_a_request_that_is_still_running_counts_as_unknown(self):
        register = Register(0)
        self.ledger.intend("test", register.writes, 1)
        self.assertEqual(register.allowed(), {0, 1})


class Accounts(Planted):
    def setUp(self):
        super().setUp()
        self.account = self.ledger.account("ada", "ada@example.org", "first")
        self.write(self.account.exists.writes, True, ACKNOWLEDGED)

    def test_an_acknowledged_account_exists(self):
        self.assertEqual(self.kinds(self.account.check_existence(False)), ["lost"])
        self.assertEqual(self.account.check_existence(True), [])

    def test_exactly_the_acknowledged_password_works(self):
        self.write(self.account.password.writes, "second", ACKNOWLEDGED)
        check = lambda *working: self.kinds(self.account.check_passwords(set(working)))
        self.assertEqual(check("second"), [])
        self.assertEqual(check("first"), ["lost"])
        self.assertEqual(check("first", "second"), ["wrong"])
        self.assertEqual(check(), ["lost"])
        self.write(self.account.password.writes, "third", UNKNOWN)
        self.assertEqual(check("second") + check("third"), [])
        self.assertEqual(check("first"), ["lost"])

    def test_the_acknowledged_email_is_stored(self):
        self.write(self.account.email.writes, "countess@example.org", ACKNOWLEDGED)
        self.assertEqual(self.kinds(self.account.email.check("e-mail", "ada@example.org")), ["lost"])

    def test_a_session_or_token_works_until_it_is_ended_and_never_again(self):
        session, token = self.account.opened("session", "s"), self.account.opened("token", "t")
        self.assertEqual(self.kinds(session.check(False)), ["lost"])
        self.account.ended(ACKNOWLEDGED, lambda one: one is session)
        self.assertEqual(self.kinds(session.check(True)), ["wrong"])
        self.assertEqual(session.check(False) + token.check(True), [])
        self.account.ended(REFUSED)
        self.assertEqual(self.kinds(token.check(False)), ["lost"])
        self.account.ended(UNKNOWN)
        self.assertEqual(token.check(True) + token.check(False), [])
        self.assertEqual(self.kinds(session.check(True)), ["wrong"])

    def test_an_end_of_unknown_outcome_may_also_end_what_is_opened_soon_after(self):
        self.account.ended(UNKNOWN)
        self.assertEqual(self.account.opened("token", "t").check(False), [])
        self.now = LATE + 1
        self.assertEqual(self.kinds(self.account.opened("token", "u").check(False)), ["lost"])


if __name__ == "__main__":
    unittest.main()
