//! Where log lines go: standard error, for people; `KEYWHEEL_LOG` or `-v` says how many.

use std::ffi::OsString;

use tracing_subscriber::EnvFilter;

/// The variable that holds a filter, such as `keywheel=debug`.
const VARIABLE: &str = "KEYWHEEL_LOG";

/// Begins to log, as `line` and the environment ask. Before the line is parsed: what goes wrong
/// from here on can be seen.
pub fn begin(line: &[OsString]) {
    let filter = std::env::var(VARIABLE)
        .ok()
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        .unwrap_or_else(|| EnvFilter::new(level(line)));
    let begun = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(anstream::stderr)
        .with_target(false)
        .try_init();
    // Only a test that runs in one process with others has begun before.
    drop(begun);
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
