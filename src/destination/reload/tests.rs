use std::collections::BTreeMap;

use super::*;
use crate::destination::file::tests::{ODD, parcel, spec};

fn reload(command: &[&str]) -> Reload {
    let spec = FileSpec {
        reload: command.iter().map(|&part| part.to_owned()).collect(),
        reload_timeout: Some(Span(Duration::from_secs(20))),
        ..spec(Path::new("/srv/app"))
    };
    Reload::parse(&spec).unwrap().unwrap()
}

fn shell(script: &str) -> Reload {
    reload(&["sh", "-c", script])
}

fn hasty(script: &str) -> Reload {
    Reload {
        timeout: Span(Duration::from_millis(200)),
        ..shell(script)
    }
}

async fn run(reload: &Reload) -> Result<(), ReloadFault> {
    reload.run(&parcel(ODD), Path::new("/srv/app")).await
}

async fn fault(reload: &Reload) -> DestinationFault {
    let fault = run(reload).await.unwrap_err().into();
    let DestinationFault {
        message, remedy, ..
    } = &fault;
    assert!(message.contains("reload command") && !remedy.is_empty());
    fault
}

#[tokio::test]
async fn h2_each_way_to_fail_is_told_apart() {
    assert_eq!(run(&shell("exit 0")).await, Ok(()));
    let failed = fault(&shell("echo out; echo why >&2; exit 3")).await;
    assert_eq!(failed.code, "reload-failed");
    assert!(
        failed.message.contains("code 3; it said: out why"),
        "{failed}"
    );
    assert_eq!(fault(&shell("kill -9 $$")).await.code, "reload-signal");
    assert_eq!(
        fault(&reload(&["/no/such/program"])).await.code,
        "reload-missing"
    );
    assert_eq!(
        fault(&reload(&["no-such-program"])).await.code,
        "reload-missing"
    );
    assert_eq!(
        fault(&reload(&["/etc/passwd"])).await.code,
        "reload-not-executable"
    );
    assert_eq!(
        fault(&reload(&["/usr/bin"])).await.code,
        "reload-not-executable"
    );
}

#[tokio::test]
async fn h2_a_program_without_its_interpreter_is_said() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    std::fs::write(&path, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let fault = fault(&reload(&[path.to_str().unwrap()])).await;
    assert_eq!(fault.code, "reload-not-executable");
}

#[tokio::test]
async fn h2_one_that_hangs_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let script = format!("sleep 60 & echo $! > {}; wait", pids.display());
    assert_eq!(fault(&hasty(&script)).await.code, "reload-timeout");
    let pid = std::fs::read_to_string(pids).unwrap();
    assert!(is_gone(pid.trim()), "{pid}");
}

#[tokio::test]
async fn h2_one_that_ignores_sigterm_is_killed() {
    let mut stubborn = hasty("trap '' TERM; while :; do sleep 0.05; done");
    stubborn.grace = Duration::from_millis(100);
    assert_eq!(fault(&stubborn).await.code, "reload-timeout");
}

#[tokio::test]
async fn h2_nobody_waiting_any_more_ends_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let script = format!("sleep 60 & echo $! > {}; wait", pids.display());
    let (command, parcel) = (shell(&script), parcel(ODD));
    let running = command.run(&parcel, Path::new("/srv/app"));
    assert!(timeout(Duration::from_millis(200), running).await.is_err());
    let pid = std::fs::read_to_string(pids).unwrap();
    assert!(is_gone(pid.trim()), "{pid}");
}

#[tokio::test]
async fn h2_what_it_leaves_in_the_background_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    // It keeps the pipe open, and is left alone: it may be the server that was to be restarted.
    let background = shell(&format!("sleep 60 & echo $! > {}", pids.display()));
    let in_time = timeout(Duration::from_secs(10), run(&background)).await;
    assert_eq!(in_time.unwrap(), Ok(()));
    let pid = std::fs::read_to_string(pids).unwrap();
    assert!(Path::new("/proc").join(pid.trim()).exists());
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn h2_a_chatty_one_is_never_held_up_nor_told_in_full() {
    let chatty = shell("yes 0123456789 | head -c 1000000; yes no | head -c 200000 >&2; exit 1");
    let fault = fault(&chatty).await;
    assert_eq!(fault.code, "reload-failed");
    assert!(fault.message.len() < 600, "{}", fault.message.len());
}

#[test]
fn h2_a_command_that_can_not_run_is_refused_when_it_is_declared() {
    let declared = |command: &[&str], env: &[(&str, &str)]| {
        let pairs = env
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let spec = FileSpec {
            reload: command.iter().map(|&part| part.to_owned()).collect(),
            reload_env: pairs.collect::<BTreeMap<_, _>>(),
            ..spec(Path::new("/srv/app"))
        };
        Reload::parse(&spec)
    };
    assert!(declared(&[], &[]).unwrap().is_none());
    assert!(declared(&["true"], &[("A", "1")]).unwrap().is_some());
    assert!(declared(&["./script"], &[]).is_err());
    assert!(declared(&[""], &[]).is_err());
    assert!(declared(&["true", "\0"], &[]).is_err());
    assert!(declared(&["true"], &[("A=B", "1")]).is_err());
    assert!(declared(&["true"], &[("KEYWHEEL_PATH", "1")]).is_err());
}

#[tokio::test]
async fn h3_its_environment_is_what_was_named_and_has_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let script = format!(
        "tr '\\0' '\\n' < /proc/$$/environ > {0}; pwd >> {0}",
        seen.display()
    );
    let mut command = shell(&script);
    command.env.insert("NAMED".to_owned(), "1".to_owned());
    run(&command).await.unwrap();
    let text = std::fs::read_to_string(seen).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let path = format!("PATH={PATH}");
    assert_eq!(
        lines,
        [
            "/",
            "KEYWHEEL_CONNECTION=billing",
            "KEYWHEEL_KEY_ID=00000000-0000-0000-0000-000000000003",
            "KEYWHEEL_PATH=/srv/app",
            "NAMED=1",
            &path,
        ]
    );
}

#[tokio::test]
async fn p6_a_secret_that_it_prints_is_not_repeated() {
    // Whole, coloured, over two lines, and cut off at the end.
    let [one, two] = [&ODD[..9], &ODD[9..]];
    let script =
        format!("cat <<'END'\ntoken {ODD}\n\x1b[31m{ODD}\x1b[0m\n{one}\n{two}\n{one}\nEND\nexit 1");
    let fault = fault(&shell(&script)).await;
    for piece in ["aB3~._", "-=+%&", "#end", "\x1b"] {
        assert!(!fault.message.contains(piece), "{}", fault.message);
    }
    assert!(
        fault.message.contains("token [secret]"),
        "{}",
        fault.message
    );
}

/// Gone, or only waiting for init to notice.
fn is_gone(pid: &str) -> bool {
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    };
    (0..1000).any(|_| {
        std::thread::yield_now();
        state()
    })
}
