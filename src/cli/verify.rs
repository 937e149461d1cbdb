//! `verify`: does the secret sign in.

use std::sync::Arc;

use serde::Serialize;

use super::args;
use super::context::{Context, actor};
use super::exit::{Complaint, ErrorBody, Exit};
use super::holdings::{Holding, holdings};
use super::output::{Output, table};
use super::rotate::busy;
use crate::connection::ConnectionName;
use crate::entra::KeyId;
use crate::journal::{Event, Origin, Role};
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
        secrets: verified
            .iter()
            .map(|one| secret(&args.name, one, &verified))
            .collect(),
    };
    let journal = context.connection(&args.name).await?;
    output.data(&view, || rows(&view.secrets, &verified));
    for one in &verified {
        if let Some((finding, advice)) = found(&args.name, one, &verified) {
            let advice = advice.map(|advice| format!("\n  {advice}"));
            let code = match finding.message.contains(&finding.code) {
                true => String::new(),
                false => format!(" ({})", finding.code),
            };
            output.note(&format!(
                "Key ID {}: {}{code}{}",
                one.key_id,
                finding.message,
                advice.unwrap_or_default()
            ));
        }
    }
    tell_holdings(output, &args.name, &holdings(&engine, &journal).await?);
    let result = view.secrets.iter().find_map(|it| it.error.as_ref());
    let event = Event {
        at: context.clock.now(),
        actor: actor(),
        action: "verified-by-hand".to_owned(),
        connection: Some(args.name.clone()),
        rotation_id: None,
        key_id: journal.current().map(|secret| secret.key_id),
        result: result.map_or_else(|| "ok".to_owned(), |error| error.code.clone()),
        client_request_id: None,
    };
    context.store.record(event).await?;
    Ok(verified.iter().map(exit).fold(Exit::Done, Exit::or))
}

/// What was found of one secret, and what to do about that.
fn found<'v>(
    name: &ConnectionName,
    one: &'v Verified,
    all: &[Verified],
) -> Option<(&'v Finding, Option<String>)> {
    Some(match (&one.signs_in, &one.listed) {
        (Verdict::Yes, Verdict::Yes) => return None,
        (Verdict::No(finding), _) | (_, Verdict::No(finding)) => {
            (finding, Some(way_out(name, one, all)))
        }
        (Verdict::Unknown(finding), _) if is_refusal(finding) => (
            finding,
            Some("it is young, and may not be known everywhere yet: try again".to_owned()),
        ),
        (Verdict::Unknown(finding), _) | (Verdict::Yes, Verdict::Unknown(finding)) => {
            (finding, finding.remedy.clone())
        }
    })
}

fn way_out(name: &ConnectionName, one: &Verified, all: &[Verified]) -> String {
    let signs_in = |it: &&Verified| matches!(it.signs_in, Verdict::Yes);
    let others = all.iter().filter(|it| it.key_id != one.key_id);
    let other = others.clone().find(signs_in);
    match (one.role, other) {
        (Role::Current, Some(other)) => format!(
            "Key ID {} still signs in: `keywheel rollback {name}` makes it current again",
            other.key_id
        ),
        (Role::Current, None) => format!(
            "make another in the portal, and give it with `keywheel connection edit {name} \
             --secret-file FILE`"
        ),
        _ => "nothing: it is a previous one, and consumers have the current one".to_owned(),
    }
}

/// Entra knows the application and refuses the secret.
fn is_refusal(finding: &Finding) -> bool {
    matches!(finding.code.as_str(), "AADSTS7000215" | "AADSTS7000222")
}

fn tell_holdings(output: Output, name: &ConnectionName, holdings: &[Holding]) {
    for holding in holdings {
        let place = &holding.destination;
        output.note(&match (holding.holds, &holding.problem) {
            (Some(true), _) => format!("{place} holds the current secret"),
            (Some(false), _) => format!(
                "{place} does not hold the current secret: `keywheel deliver {name}` hands it over"
            ),
            (None, Some(problem)) => format!("{place} can't be read: {problem}"),
            (None, None) => continue,
        });
    }
}

/// An identity that may not read leaves `listed` open, and that alone is no failure.
fn exit(verified: &Verified) -> Exit {
    match (&verified.signs_in, &verified.listed) {
        (Verdict::No(_), _) | (_, Verdict::No(_)) => Exit::PersonMustAct,
        (Verdict::Unknown(_), _) => Exit::RetryScheduled,
        (Verdict::Yes, _) => Exit::Done,
    }
}

fn secret(name: &ConnectionName, verified: &Verified, all: &[Verified]) -> SecretView {
    SecretView {
        key_id: verified.key_id,
        role: verified.role,
        signs_in: truth(&verified.signs_in),
        listed: truth(&verified.listed),
        error: found(name, verified, all).map(|(finding, advice)| ErrorBody {
            code: finding.code.clone(),
            message: match advice {
                Some(advice) => format!("{}; {advice}", finding.message),
                None => finding.message.clone(),
            },
        }),
    }
}

fn truth(verdict: &Verdict) -> Option<bool> {
    match verdict {
        Verdict::Yes => Some(true),
        Verdict::No(_) => Some(false),
        Verdict::Unknown(_) => None,
    }
}

fn rows(secrets: &[SecretView], verified: &[Verified]) -> String {
    let word = |truth: Option<bool>| match truth {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let mut table = table(&["key id", "role", "signs in", "on the application"]);
    for (secret, verified) in secrets.iter().zip(verified) {
        let refused = match &verified.signs_in {
            Verdict::Unknown(finding) => is_refusal(finding),
            _ => false,
        };
        table.add_row([
            secret.key_id.to_string(),
            format!("{:?}", secret.role).to_lowercase(),
            if refused {
                "not yet"
            } else {
                word(secret.signs_in)
            }
            .to_owned(),
            word(secret.listed).to_owned(),
        ]);
    }
    table.to_string()
}
