//! `verify`: does the secret sign in.

use std::sync::Arc;

use serde::Serialize;

use super::args;
use super::context::Context;
use super::exit::{Complaint, ErrorBody, Exit};
use super::output::{Output, table};
use super::rotate::busy;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{Origin, Role};
use crate::rotation::observe::Unobserved;
use crate::rotation::verify::{Finding, Verdict, Verified};

/// What it prints with `-o json`; none of its fields is renamed.
#[derive(Debug, Serialize)]
struct VerifyView<'a> {
    connection: &'a ConnectionName,
    secrets: Vec<SecretView>,
}

/// One stored secret.
#[derive(Debug, Serialize)]
struct SecretView {
    key_id: KeyId,
    role: Role,
    /// Null: it could not be told.
    signs_in: Option<bool>,
    /// Null: it could not be told.
    listed: Option<bool>,
    /// Why one of them is not true.
    error: Option<ErrorBody>,
}

pub(super) async fn run(
    global: &args::Global,
    args: args::Verify,
    output: Output,
) -> Result<Exit, Complaint> {
    let context = Context::open(&global.config, output)?;
    let journal = context.connection(&args.name).await?;
    let engine = context.engine(Arc::new(Unobserved)).await?;
    if journal.current().is_none() {
        return Err(Complaint {
            code: "no-current-secret".into(),
            message: format!("connection {} has no current secret", args.name),
            remedy: Some(format!(
                "give one with `keywheel connection edit {} --secret-file FILE`",
                args.name
            )),
            exit: Exit::PersonMustAct,
        });
    }
    let postponed = |secret: &&crate::journal::Secret| secret.origin == Origin::Unchecked;
    if journal.current().filter(postponed).is_some() {
        let completed = engine.complete(&args.name).await?;
        completed.ok_or_else(|| busy(&args.name))?;
        output.note(&format!(
            "the checks of {} that were postponed have passed: its Key ID is ours",
            args.name
        ));
    }
    let verified = engine.verify(&args.name).await?;
    let view = VerifyView {
        connection: &args.name,
        secrets: verified.iter().map(secret).collect(),
    };
    output.data(&view, || rows(&view.secrets));
    for error in view
        .secrets
        .iter()
        .filter_map(|secret| secret.error.as_ref())
    {
        output.note(&format!("{}: {}", error.code, error.message));
    }
    Ok(verified.iter().map(exit).fold(Exit::Done, Exit::or))
}

/// An identity that may not read leaves `listed` open, and that alone is no failure.
fn exit(verified: &Verified) -> Exit {
    match (&verified.signs_in, &verified.listed) {
        (Verdict::No(_), _) | (_, Verdict::No(_)) => Exit::PersonMustAct,
        (Verdict::Unknown(_), _) => Exit::RetryScheduled,
        (Verdict::Yes, _) => Exit::Done,
    }
}

fn secret(verified: &Verified) -> SecretView {
    let finding = finding(&verified.signs_in).or_else(|| finding(&verified.listed));
    SecretView {
        key_id: verified.key_id,
        role: verified.role,
        signs_in: truth(&verified.signs_in),
        listed: truth(&verified.listed),
        error: finding.map(|finding| ErrorBody {
            code: finding.code.clone(),
            message: match &finding.remedy {
                Some(remedy) => format!("{}; {remedy}", finding.message),
                None => finding.message.clone(),
            },
        }),
    }
}

fn finding(verdict: &Verdict) -> Option<&Finding> {
    match verdict {
        Verdict::Yes => None,
        Verdict::No(finding) | Verdict::Unknown(finding) => Some(finding),
    }
}

fn truth(verdict: &Verdict) -> Option<bool> {
    match verdict {
        Verdict::Yes => Some(true),
        Verdict::No(_) => Some(false),
        Verdict::Unknown(_) => None,
    }
}

fn rows(secrets: &[SecretView]) -> String {
    let word = |truth: Option<bool>| match truth {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let mut table = table(&["key id", "role", "signs in", "on the application"]);
    for secret in secrets {
        table.add_row([
            secret.key_id.to_string(),
            format!("{:?}", secret.role).to_lowercase(),
            word(secret.signs_in).to_owned(),
            word(secret.listed).to_owned(),
        ]);
    }
    table.to_string()
}
