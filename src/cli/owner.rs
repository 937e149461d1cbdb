//! Who may work beside the service: where files belong to its user, root stays out.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Uid, User};

use super::exit::Complaint;

/// Refuses to work as root on settings or a store that belong to another user: locks, keys and
/// destinations that root leaves behind are files that this user can't read. What is not there yet
/// belongs to whom its folder belongs.
pub(super) fn refuse_root(path: &Path) -> Result<(), Complaint> {
    let folder = path.parent().unwrap_or(path);
    let metadata = path.metadata().or_else(|_| folder.metadata());
    // What can't be looked at is told by whoever opens it.
    let owner = metadata.map_or(0, |metadata| metadata.uid());
    if !nix::unistd::geteuid().is_root() || owner == 0 {
        return Ok(());
    }
    let user = User::from_uid(Uid::from_raw(owner)).ok().flatten();
    Err(refused(path, owner, user.map(|user| user.name)))
}

fn refused(path: &Path, owner: u32, name: Option<String>) -> Complaint {
    let shown = path.display();
    let (whose, remedy) = match name {
        Some(name) => (
            format!("user {name}"),
            format!(
                "run `keywheel-admin` instead of `keywheel`: it takes the service's user and \
                 credentials; where there is no service, `runuser -u {name} -- keywheel`"
            ),
        ),
        None => (
            format!("user {owner}, who has no name here"),
            "run it as that user".to_owned(),
        ),
    };
    let message = format!("{shown} belongs to {whose}, who could not read what root leaves there");
    Complaint::usage("root-beside-service", message).remedy(remedy)
}
