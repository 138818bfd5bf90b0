//! Turning the app's rows into those of a site.

use std::collections::HashMap;

use time::{Duration, OffsetDateTime};

use crate::{
    identity::{PostId, Role, UserId},
    posts::{BadBody, BadTitle, Body, Draft, Title},
    text,
    transfer::import::{
        fastapi::{BadRow, Flaw, LeftOut, OnFlaw, Place, PostRow, UserRow, VoteRow, names::Names},
        whole::{Last, MAX_ID, Person, Post, Vote},
    },
    users::{Email, password},
};

/// How many flaws are kept to be reported.
const NAMED: usize = 50;

/// Turns the app's rows into those of a site. People have to come before posts, and these before
/// votes, each in the order of their ids.
pub struct Sieve {
    now: OffsetDateTime,
    on_flaw: OnFlaw,
    names: Names,
    /// The user with an address, by its canonical form.
    emails: HashMap<String, i64>,
    /// Since when a person or a post exists; `None` for those that are left out.
    people: HashMap<i64, Option<OffsetDateTime>>,
    posts: HashMap<i64, Option<OffsetDateTime>>,
    last_vote: Option<VoteRow>,
    pub left_out: LeftOut,
}

impl Sieve {
    /// A row is too late when it is dated a day after `now`. Up to then it may be the time of another
    /// zone, written without saying so, and counts as `now`.
    pub fn new(now: OffsetDateTime, on_flaw: OnFlaw) -> Sieve {
        Sieve {
            now,
            on_flaw,
            names: Names::default(),
            emails: HashMap::new(),
            people: HashMap::new(),
            posts: HashMap::new(),
            last_vote: None,
            left_out: LeftOut::default(),
        }
    }

    /// `None` for a person who is left out. An error is the first flaw, where the import stops at it.
    pub fn person(&mut self, row: UserRow) -> Result<Option<Person>, BadRow> {
        let place = Place::User(row.id);
        let id = match self.new_id(row.id, |sieve| &mut sieve.people) {
            Ok(id) => id,
            Err(flaw) => return self.leave_out(place, flaw),
        };
        let mut person = match self.checked_person(id, row.email.as_deref(), row.created_at) {
            Ok(person) => person,
            Err(flaw) => return self.leave_out(place, flaw),
        };
        person.password_hash = row.password.filter(|hash| password::is_readable(hash));
        if person.password_hash.is_none() {
            self.left_out.without_password += 1;
            self.name(BadRow { place, flaw: Flaw::Password })?;
        }
        Ok(Some(person))
    }

    fn checked_person(
        &mut self,
        id: i64,
        email: Option<&str>,
        created_at: Option<i64>,
    ) -> Result<Person, Flaw> {
        let email = Email::parse(email.unwrap_or_default()).map_err(|_| Flaw::Email)?;
        if let Some(first) = self.emails.get(email.canonical()) {
            return Err(Flaw::SameEmail(*first));
        }
        let created_at = self.date(created_at)?;
        self.emails.insert(email.canonical().to_owned(), id);
        self.people.insert(id, Some(created_at));
        Ok(Person {
            id: UserId(id),
            username: self.names.name_for(&email),
            email: Some(email),
            password_hash: None,
            role: Role::Member,
            suspended_at: None,
            // The app does not confirm addresses.
            email_confirmed_at: None,
            auth_epoch: 0,
            created_at,
        })
    }

    /// `None` for a post that is left out.
    pub fn post(&mut self, row: &PostRow) -> Result<Option<Post>, BadRow> {
        let place = Place::Post(row.id);
        let id = match self.new_id(row.id, |sieve| &mut sieve.posts) {
            Ok(id) => id,
            Err(flaw) => return self.leave_out(place, flaw),
        };
        if !row.is_published {
            self.left_out.unpublished += 1;
            return Ok(None);
        }
        match self.checked_post(id, row) {
            Ok(post) => {
                self.posts.insert(id, Some(post.created_at));
                Ok(Some(post))
            }
            Err(flaw) => self.leave_out(place, flaw),
        }
    }

    fn checked_post(&self, id: i64, row: &PostRow) -> Result<Post, Flaw> {
        let owner = row.owner.ok_or(Flaw::NoAuthor)?;
        match self.people.get(&owner) {
            Some(Some(_)) => {}
            Some(None) => return Err(Flaw::AuthorLeftOut(owner)),
            None => return Err(Flaw::NoAuthor),
        }
        let title = title(row.title.as_deref().unwrap_or_default())?;
        let body = body(row.content.as_deref().unwrap_or_default())?;
        let created_at = self.date(row.created_at)?;
        let draft = Draft { title, link: None, body };
        Ok(Post { id: PostId(id), author: UserId(owner), draft, created_at, edited_at: None })
    }

    /// `None` for a vote that is left out. The app's votes have no date: one counts as cast as soon as
    /// both the post and the voter existed.
    pub fn vote(&mut self, row: VoteRow) -> Result<Option<Vote>, BadRow> {
        let place = Place::Vote(row);
        if self.last_vote.replace(row) == Some(row) {
            return self.leave_out(place, Flaw::DoubledVote);
        }
        let of = |known: &HashMap<i64, _>, id: Option<i64>| {
            id.and_then(|id| Some((id, *known.get(&id)?)))
        };
        let Some((post, posted_at)) = of(&self.posts, row.post_id) else {
            return self.leave_out(place, Flaw::NoPost);
        };
        let Some((voter, joined_at)) = of(&self.people, row.user_id) else {
            return self.leave_out(place, Flaw::NoVoter);
        };
        let (Some(posted_at), Some(joined_at)) = (posted_at, joined_at) else {
            self.left_out.votes += 1;
            return Ok(None);
        };
        let created_at: OffsetDateTime = joined_at.max(posted_at);
        Ok(Some(Vote { post: PostId(post), voter: UserId(voter), created_at }))
    }

    /// The largest ids of the app, also of rows that are left out.
    pub fn last(&self) -> Last {
        let largest = |known: &HashMap<i64, _>| known.keys().copied().max().unwrap_or_default();
        Last { person: largest(&self.people), post: largest(&self.posts) }
    }

    /// A valid id that is new. Its row counts as left out until all of it was checked.
    fn new_id(
        &mut self,
        id: Option<i64>,
        known: impl Fn(&mut Sieve) -> &mut HashMap<i64, Option<OffsetDateTime>>,
    ) -> Result<i64, Flaw> {
        let id = id.filter(|id| (1..=MAX_ID).contains(id)).ok_or(Flaw::Id)?;
        let known = known(self);
        if known.contains_key(&id) {
            return Err(Flaw::Doubled);
        }
        known.insert(id, None);
        Ok(id)
    }

    fn date(&self, micros: Option<i64>) -> Result<OffsetDateTime, Flaw> {
        let at = micros.map(|micros| i128::from(micros) * 1000).ok_or(Flaw::Date)?;
        let at = OffsetDateTime::from_unix_timestamp_nanos(at).map_err(|_| Flaw::Date)?;
        match at {
            at if at < OffsetDateTime::UNIX_EPOCH => Err(Flaw::Date),
            at if at > self.now + Duration::DAY => Err(Flaw::LateDate),
            at => Ok(at.min(self.now)),
        }
    }

    fn leave_out<T>(&mut self, place: Place, flaw: Flaw) -> Result<Option<T>, BadRow> {
        self.left_out.bad += 1;
        self.name(BadRow { place, flaw })?;
        Ok(None)
    }

    fn name(&mut self, bad: BadRow) -> Result<(), BadRow> {
        if self.on_flaw == OnFlaw::Stop {
            return Err(bad);
        }
        if self.left_out.named.len() < NAMED {
            self.left_out.named.push(bad);
        }
        Ok(())
    }
}

/// Stray control characters are removed instead of refused, since nobody can correct them in a form;
/// those that separate words become a space.
fn title(text: &str) -> Result<Title, Flaw> {
    let text = text.replace(['\r', '\n', '\t'], " ");
    Title::parse(&text::repair_line(&text)).map_err(|bad| match bad {
        BadTitle::Empty => Flaw::NoTitle,
        BadTitle::TooLong => Flaw::LongTitle,
        BadTitle::Text(bad) => Flaw::Title(bad),
    })
}

fn body(text: &str) -> Result<Body, Flaw> {
    Body::parse(&text::repair_block(text)).map_err(|bad| match bad {
        BadBody::TooLong => Flaw::LongContent,
        BadBody::Text(bad) => Flaw::Content(bad),
    })
}
