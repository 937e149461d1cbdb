//! What is wrong with a file for `apply` where it meets the store and the host.

use std::ops::Range;

use super::super::exit::Complaint;
use crate::connection::Declared;
use crate::destination;
use crate::settings::Text;
use crate::settings::declare::Declaration;

/// Something wrong, and where in the file.
pub(super) struct Mistake {
    at: Range<usize>,
    complaint: Complaint,
}

impl Mistake {
    pub(super) fn new(at: Range<usize>, complaint: Complaint) -> Self {
        Self { at, complaint }
    }
}

/// What keeps destinations from being delivered to; those that the store has already are left to
/// their deliveries.
pub(super) async fn undeliverable(
    declaration: &Declaration,
    before: Option<&Declared>,
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let declared = &declaration.declared;
    for (spec, written) in declared
        .destinations
        .iter()
        .zip(&declaration.destinations_written)
    {
        if before.is_some_and(|before| before.destinations.contains(spec)) {
            continue;
        }
        for obstacle in destination::obstacles(spec).await {
            let complaint = Complaint::usage(
                obstacle.fault.code,
                format!("connection {}: {}", declared.name, obstacle.fault.message),
            );
            mistakes.push(Mistake::new(
                written.at(obstacle.key),
                complaint.remedy(obstacle.fault.remedy),
            ));
        }
    }
    mistakes
}

/// All of them as one, in the order of the file's lines: nothing was changed for any connection.
pub(super) fn complaint(text: &Text, mistakes: Vec<Mistake>) -> Complaint {
    let code = match mistakes.as_slice() {
        [one] => one.complaint.code.clone(),
        _ => "manifest".to_owned(),
    };
    let faults = mistakes.into_iter().map(|mistake| {
        let message = mistake.complaint.document().error.message;
        (mistake.at, message)
    });
    Complaint::usage(&code, text.faults(faults.collect()).to_string())
}
