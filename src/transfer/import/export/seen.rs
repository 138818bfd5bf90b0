//! The content of an export so far: each line has to fit those before it.

use std::collections::HashSet;

use crate::{
    identity::{PostId, UserId},
    transfer::import::{
        SourceId,
        export::Flaw,
        whole::{Last, MAX_ID, Person, Post, Vote},
    },
    users::Email,
};

/// The kinds of lines, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    #[default]
    Person,
    Post,
    Vote,
    Import,
}

#[derive(Debug, Default)]
pub struct Seen {
    kind: Kind,
    people: Ids,
    names: HashSet<String>,
    addresses: HashSet<String>,
    posts: Ids,
    last_vote: Option<(PostId, UserId)>,
    last_source: Option<SourceId>,
    with_source: HashSet<PostId>,
}

impl Seen {
    pub fn person(&mut self, person: &Person, last: Last) -> Result<(), Flaw> {
        self.is_now(Kind::Person)?;
        self.people.add(person.id.0, last.person)?;
        if !self.names.insert(person.username.key()) {
            return Err(Flaw::Taken("username"));
        }
        let address = person.email.as_ref().map(Email::canonical);
        if address.is_some_and(|address| !self.addresses.insert(address.to_owned())) {
            return Err(Flaw::Taken("email"));
        }
        Ok(())
    }

    pub fn post(&mut self, post: &Post, last: Last) -> Result<(), Flaw> {
        self.is_now(Kind::Post)?;
        self.posts.add(post.id.0, last.post)?;
        self.people.hold(post.author.0, "author")
    }

    pub fn vote(&mut self, vote: Vote) -> Result<(), Flaw> {
        self.is_now(Kind::Vote)?;
        let ids = (vote.post, vote.voter);
        if self.last_vote.replace(ids).is_some_and(|last| last >= ids) {
            return Err(Flaw::Falling);
        }
        self.posts.hold(vote.post.0, "post")?;
        self.people.hold(vote.voter.0, "voter")
    }

    pub fn source(&mut self, source: SourceId, post: Option<PostId>) -> Result<(), Flaw> {
        self.is_now(Kind::Import)?;
        if source.0 < 1 {
            return Err(Flaw::Id);
        }
        if self.last_source.replace(source).is_some_and(|last| last >= source) {
            return Err(Flaw::Falling);
        }
        let Some(post) = post else { return Ok(()) };
        self.posts.hold(post.0, "post")?;
        if self.with_source.insert(post) { Ok(()) } else { Err(Flaw::Taken("post")) }
    }

    fn is_now(&mut self, kind: Kind) -> Result<(), Flaw> {
        if kind < self.kind {
            return Err(Flaw::Order);
        }
        self.kind = kind;
        Ok(())
    }
}

/// Ids in ascending order.
#[derive(Debug, Default)]
struct Ids(Vec<i64>);

impl Ids {
    fn add(&mut self, id: i64, most: i64) -> Result<(), Flaw> {
        if !(1..=MAX_ID).contains(&id) {
            return Err(Flaw::Id);
        }
        if id > most {
            return Err(Flaw::AfterLast);
        }
        if self.0.last().is_some_and(|last| *last >= id) {
            return Err(Flaw::Falling);
        }
        self.0.push(id);
        Ok(())
    }

    fn hold(&self, id: i64, what: &'static str) -> Result<(), Flaw> {
        self.0.binary_search(&id).map(|_| ()).map_err(|_| Flaw::Missing(what))
    }
}
