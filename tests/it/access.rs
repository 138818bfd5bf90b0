//! Which statements may read posts past the view of what may be shown.

use std::{fs, path::Path};

/// Where posts are named in SQL directly, each with its reason. Everything else reads `visible_posts`
/// (`src/database/views.rs`). Beside these, `src/votes/db.rs` gives its macro the table's name: a vote locks
/// the post while the score changes, and a view of the program's text cannot be locked.
const ALLOWED: &[(&str, &str)] = &[
    ("src/database/views.rs", "defines the view"),
    (
        "src/posts/db.rs",
        "edits and deletes an author's own posts, and asks whether there is any post",
    ),
    ("src/posts/publish/db.rs", "inserts posts, and compares a draft with the author's own post"),
    ("src/users/db/export.rs", "exports a member's own posts and votes"),
    ("src/transfer/", "copies whole sites"),
    ("src/doctor/", "checks every row"),
];

#[test]
fn posts_are_read_through_the_view_of_what_may_be_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut faults, mut used) = (Vec::new(), vec![false; ALLOWED.len()]);
    for (path, text) in sources(&root.join("src")) {
        let path = path.strip_prefix(root.to_str().unwrap()).unwrap().trim_start_matches('/');
        if !names_posts(&text) {
            continue;
        }
        match ALLOWED.iter().position(|(allowed, _)| path.starts_with(allowed)) {
            Some(at) => used[at] = true,
            None => faults.push(path.to_owned()),
        }
    }
    assert!(
        faults.is_empty(),
        "read `visible_posts` instead, or say in tests/it/access.rs why not:\n{}",
        faults.join("\n")
    );
    let idle = ALLOWED.iter().zip(used).filter(|(_, used)| !used);
    assert_eq!(idle.map(|((path, _), _)| *path).collect::<Vec<_>>(), [""; 0], "no longer needed");
}

/// Whether code names the table `posts` after a word that a table follows.
fn names_posts(text: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.map(str::to_lowercase).collect::<Vec<_>>().join(" ");
    let words: Vec<_> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let before = ["from", "join", "update", "into", "using"];
    words.windows(2).any(|pair| before.contains(&pair[0]) && pair[1] == "posts")
}

#[test]
fn raw_reads_of_posts_are_recognised() {
    for raw in [
        "select 1 from posts",
        "JOIN\n    posts p on true",
        "(select from posts)",
        "update posts set",
    ] {
        assert!(names_posts(raw), "{raw}");
    }
    for fine in ["select 1 from visible_posts", "from post_ranks", "/// from posts", "from posts_1"]
    {
        assert!(!names_posts(fine), "{fine}");
    }
}

fn sources(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}
