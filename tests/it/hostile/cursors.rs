//! Cursors of other lists, and damaged ones.

use axum::http::Method;
use social_post::web::cursor;

use crate::hostile::AttackedSite;

#[tokio::test]
async fn a_damaged_cursor_or_one_of_another_list_is_refused() {
    let mut at = AttackedSite::new().await;
    let stranger = at.site.visitor();
    let lists = [
        ("/?", "hot"),
        ("/new?", "new"),
        ("/top?", "top all"),
        ("/top?t=week&", "top week"),
        ("/search?q=title&", "search relevance title"),
        ("/search?q=title&sort=new&", "search new title"),
        ("/search?q=other&sort=new&", "search new other"),
        ("/users?", "people"),
        ("/users/ada?", "by 1"),
        ("/users/hidden?", "by 2"),
    ];
    for (address, list) in lists {
        for (_, of) in lists {
            let address = format!("{address}after={}", cursor::encode(of, 1 << 50, 9, ""));
            let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
            assert_eq!(reply.status, if of == list { 200 } else { 400 }, "{of} for {address}");
        }
        // Anyone who has read the source can build a valid cursor; it must do no harm.
        for rank in [i64::MIN, -1, 0, 1, i64::MAX, f64::NAN.to_bits().cast_signed()] {
            for id in [i64::MIN, -1, 0, i64::MAX] {
                let address = format!("{address}after={}", cursor::encode(list, rank, id, ""));
                let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
                assert!([200, 400].contains(&reply.status.as_u16()), "{rank} {id} for {address}");
            }
        }
        let whole = cursor::encode(list, 1 << 50, 9, "");
        let mut damaged: Vec<String> = (1..whole.len()).map(|end| whole[..end].into()).collect();
        damaged.extend([format!("{whole}="), format!("{whole}A"), format!("%20{whole}")]);
        damaged.extend([whole.to_lowercase(), whole.to_uppercase()]);
        for cursor in damaged {
            let address = format!("{address}after={cursor}");
            let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
            assert_eq!(reply.status, 400, "{address}");
        }
    }
    at.tell();
}
