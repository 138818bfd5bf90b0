//! Both faces can do the same: the counterparts in the manifest of routes.

use std::collections::BTreeSet;

use social_post::routes::{Counterpart, ROUTES, Route};

fn spelled(route: &Route) -> String {
    format!("{} {}", route.method, route.path)
}

/// The routes of the API that have no page, by their rows.
pub fn of_programs_alone() -> BTreeSet<String> {
    let alone = ROUTES.iter().filter(|route| route.is_api());
    let alone = alone.filter(|route| matches!(route.counterpart, Counterpart::None(_)));
    alone.map(spelled).collect()
}

#[test]
fn every_action_of_a_page_has_its_endpoint_in_the_api_and_the_other_way_round() {
    let known: BTreeSet<String> =
        ROUTES.iter().filter(|route| route.is_api()).map(spelled).collect();
    let mut named = of_programs_alone();
    for page in ROUTES.iter().filter(|route| !route.is_api()) {
        let what = spelled(page);
        match page.counterpart {
            Counterpart::None(reason) => assert!(!reason.is_empty(), "{what}: say why it is alone"),
            Counterpart::Api([]) => panic!(
                "{what} does not say how a program does the same: add .api(&[...]) or .alone(why) to \
                 its row in src/routes/mod.rs"
            ),
            Counterpart::Api(routes) => {
                named.extend(routes.iter().map(|route| (*route).to_owned()));
            }
        }
    }
    assert_eq!(named, known, "left: the counterparts of pages, right: the routes of the API");
}
