//! Where log lines go: standard error for people, the journal, or JSON where it is asked for;
//! `KEYWHEEL_LOG` or `-v` says how many.

use std::ffi::OsString;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable that holds a filter, such as `keywheel=debug`.
const VARIABLE: &str = "KEYWHEEL_LOG";

/// The variable that holds a form; see [`Form`].
const FORM: &str = "KEYWHEEL_LOG_FORMAT";

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// For people.
    Text,
    /// An object a line, for collectors.
    Json,
    /// To the journal, field by field.
    Journal,
}

/// Begins to log, as `line` and the environment ask. Before the line is parsed: what goes wrong
/// from here on can be seen.
pub fn begin(line: &[OsString]) {
    let filter = std::env::var(VARIABLE)
        .ok()
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        .unwrap_or_else(|| EnvFilter::new(level(line)));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(anstream::stderr)
        .with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    // Only a test that runs in one process with others has begun before.
    let begun = match form() {
        Form::Json => registry.with(lines.json()).try_init(),
        Form::Journal => match tracing_journald::layer() {
            Ok(journal) => registry.with(journal).try_init(),
            // A line in another form is better than none.
            Err(_) => registry.with(lines).try_init(),
        },
        Form::Text => registry.with(lines).try_init(),
    };
    drop(begun);
}

/// As the variable says, which lets nothing else through than the three words; else the journal's
/// own form where standard error leads there.
fn form() -> Form {
    match std::env::var(FORM).as_deref() {
        Ok("json") => Form::Json,
        Ok("journal") => Form::Journal,
        Ok("text") => Form::Text,
        _ if leads_to_the_journal() => Form::Journal,
        _ => Form::Text,
    }
}

/// Whether standard error is the stream that systemd gave (`systemd.exec(5)`, `JOURNAL_STREAM`).
fn leads_to_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

fn level(line: &[OsString]) -> &'static str {
    let words = line.iter().skip(1).filter_map(|word| word.to_str());
    let count: usize = words
        .map(|word| match word {
            "--verbose" => 1,
            _ if !word.starts_with("--") && word.starts_with("-v") => {
                word.chars().filter(|c| *c == 'v').count()
            }
            _ => 0,
        })
        .sum();
    match count {
        0 if is_service(line) => "keywheel=info",
        // A one-shot says its failures itself.
        0 => "off",
        1 => "keywheel=info",
        2 => "keywheel=debug",
        _ => "keywheel=trace",
    }
}

/// Whether it is the service that begins, whose log is read later: the first word that is no flag
/// says so.
fn is_service(line: &[OsString]) -> bool {
    let mut words = line.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        match word {
            "--config" | "--output" | "-o" => drop(words.next()),
            flag if flag.starts_with('-') => {}
            command => return command == "run",
        }
    }
    false
}
