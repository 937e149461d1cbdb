//! C7: no two connections deliver to one place.

use super::AdoptFault;
use crate::connection::{ConnectionName, Declared};
use crate::destination::{self, Place};
use crate::journal::ConnectionId;
use crate::rotation::advance::Engine;
use crate::rotation::trouble::{Halt, Trouble};
use crate::settings::IdentityKind;

impl Engine {
    /// C7, and the rule for an application that an identity signs in with.
    ///
    /// `own` is the connection that is looked at, whatever its name is to be.
    pub(in crate::rotation) async fn check_places(
        &self,
        declared: &Declared,
        own: Option<ConnectionId>,
    ) -> Result<(), AdoptFault> {
        let mine = places(declared)?;
        for (id, other) in self.store.declarations().await? {
            if mine.is_empty() || other.name == declared.name || Some(id) == own {
                continue;
            }
            for place in places(&other).unwrap_or_default() {
                if mine.iter().any(|own| own.overlaps(&place)) {
                    return Err(place_taken(&place, &other.name).into());
                }
            }
        }
        for identity in &self.settings.identities {
            let IdentityKind::ClientSecret {
                client_id,
                secret_file,
                tenant_id,
                ..
            } = &identity.kind;
            let same = *client_id == declared.client_id && *tenant_id == declared.tenant_id;
            let delivers = declared.destinations.iter().any(|spec| match spec {
                crate::connection::DestinationSpec::File(file) => file.path == *secret_file,
            });
            if same && !delivers {
                return Err(Halt::from(Trouble::rule(
                    "identity-would-be-cut-off",
                    format!(
                        "identity {} signs in with this application, so its secret_file must be \
                         among the destinations",
                        identity.name
                    ),
                    format!("add --to-file {}", secret_file.display()),
                ))
                .into());
            }
        }
        Ok(())
    }
}

fn places(declared: &Declared) -> Result<Vec<Place>, AdoptFault> {
    declared
        .destinations
        .iter()
        .map(|spec| Ok(destination::open(spec).map_err(Halt::from)?.place()))
        .collect()
}

fn place_taken(place: &Place, holder: &ConnectionName) -> Halt {
    Trouble::rule(
        "place-taken",
        format!("connection {holder} already delivers to {}", place.0),
        "two secrets would overwrite each other there: choose another place",
    )
    .into()
}
