//! The queries of users and their accounts.

mod accounts;
mod deletion;
mod export;
mod operator;
mod people;

pub use accounts::{
    PrivateDetails, change_email, change_password, find_taken, owner_of, private_details, sign_up,
};
pub use deletion::{DeleteRefused, delete_account};
pub use export::{export_posts, export_profile, export_votes};
pub use operator::{Account, accounts, reset_password, restore, suspend};
pub use people::{PER_PAGE, find, list};
