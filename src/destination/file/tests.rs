use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use secrecy::SecretString;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::connection::{DestinationSpec, FileFormat};
use crate::destination::open;
use crate::entra::{ClientId, KeyId, TenantId};

pub(in crate::destination) const ODD: &str = "aB3~._-=+%&$\"\\ #end";

pub(in crate::destination) fn parcel(secret: &str) -> Parcel {
    Parcel {
        secret: SecretString::from(secret),
        connection: "billing".parse().unwrap(),
        tenant_id: TenantId(Uuid::from_u128(1)),
        client_id: ClientId(Uuid::from_u128(2)),
        key_id: KeyId(Uuid::from_u128(3)),
        expires_at: None,
    }
}

pub(in crate::destination) fn spec(path: &Path) -> FileSpec {
    FileSpec {
        name: "app".to_owned(),
        required: true,
        path: path.to_owned(),
        format: FileFormat::Raw,
        key: None,
        template: None,
        mode: None,
        owner: None,
        group: None,
        reload: Vec::new(),
        reload_timeout: None,
        reload_env: std::collections::BTreeMap::new(),
    }
}

fn keyed(path: &Path, format: FileFormat, key: &str) -> FileSpec {
    FileSpec {
        format,
        key: Some(key.to_owned()),
        ..spec(path)
    }
}

fn opened(spec: FileSpec) -> Box<dyn Destination> {
    open(&DestinationSpec::File(spec)).unwrap()
}

/// A folder of the test's own, with `app` in it if it is to hold something.
fn folder(content: Option<&str>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app");
    if let Some(content) = content {
        std::fs::write(&path, content).unwrap();
    }
    (folder, path)
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

async fn fault(spec: FileSpec) -> DestinationFault {
    let destination = opened(spec);
    let checked = destination.check().await.unwrap_err();
    let delivered = destination.deliver(&parcel("new")).await.unwrap_err();
    assert_eq!(checked, delivered, "found out before, and not only then");
    assert!(!checked.remedy.is_empty());
    checked
}

#[tokio::test]
async fn a6_every_format_holds_the_secret_byte_for_byte() {
    let (_folder, path) = folder(None);
    let template = FileSpec {
        format: FileFormat::Template,
        template: Some("s={{ secret }}&{{ key_id }}<{{ connection }}>{{ expires_at }}\n".into()),
        ..spec(&path)
    };
    let cases = [
        (spec(&path), ODD.to_owned()),
        (
            keyed(&path, FileFormat::Dotenv, "KEY"),
            format!("KEY='{ODD}'\n"),
        ),
        (
            keyed(&path, FileFormat::Json, "/a/b"),
            format!("{}\n", serde_json::json!({"a": {"b": ODD}})).replace("\":", "\": "),
        ),
        (
            template,
            format!("s={ODD}&{}<billing>\n", Uuid::from_u128(3)),
        ),
    ];
    for (spec, expected) in cases {
        let format = spec.format;
        let destination = opened(spec);
        assert_eq!(destination.holds(&parcel(ODD)).await, Ok(Some(false)));
        destination.check().await.unwrap();
        assert!(!path.exists(), "a check leaves nothing");
        destination.deliver(&parcel(ODD)).await.unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            expected,
            "{format:?}"
        );
        assert_eq!(destination.holds(&parcel(ODD)).await, Ok(Some(true)));
        assert_eq!(destination.holds(&parcel("other")).await, Ok(Some(false)));
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn d3_a_new_file_is_for_its_owner_alone() {
    let (folder, path) = folder(None);
    opened(spec(&path)).deliver(&parcel("new")).await.unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        names(&folder),
        ["app"],
        "neither a lock nor a temporary file"
    );
}

#[tokio::test]
async fn d3_an_existing_file_is_replaced_and_keeps_mode_and_owner() {
    let (_folder, path) = folder(Some("old"));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
    }
    let before = path.metadata().unwrap();
    let mut reader = std::fs::File::open(&path).unwrap();
    opened(spec(&path)).deliver(&parcel("new")).await.unwrap();
    let after = path.metadata().unwrap();
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!(mode(&path), 0o640);
    assert_ne!(after.ino(), before.ino());
    let seen = std::io::read_to_string(&mut reader).unwrap();
    assert_eq!(
        seen, "old",
        "who has it open never sees a part of the new one"
    );
}

#[tokio::test]
async fn d3_declared_mode_owner_and_group_count() {
    let (_folder, path) = folder(Some("new"));
    let is_root = rustix::process::geteuid().is_root();
    let number = |own: u32| {
        if is_root {
            "1234".to_owned()
        } else {
            own.to_string()
        }
    };
    let own = path.metadata().unwrap();
    let declared = FileSpec {
        mode: Some("0444".to_owned()),
        owner: Some(number(own.uid())),
        group: Some(number(own.gid())),
        ..spec(&path)
    };
    // It holds the secret already: what is missing is done all the same.
    let destination = opened(declared);
    destination.check().await.unwrap();
    destination.deliver(&parcel("new")).await.unwrap();
    assert_eq!(mode(&path), 0o444);
    if is_root {
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 1234));
    }
}

#[tokio::test]
async fn d3_no_symbolic_link_is_followed() {
    let (folder, path) = folder(Some("elsewhere"));
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    let fault = fault(spec(&link)).await;
    assert_eq!(fault.code, "file-is-a-link");
    assert!(
        fault
            .remedy
            .contains(path.canonicalize().unwrap().to_str().unwrap())
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "elsewhere");
    assert!(link.is_symlink());
}

#[tokio::test]
async fn d3_what_a_killed_run_left_is_removed() {
    let (folder, path) = folder(None);
    let left = format!(".keywheel-{}.tmp", Uuid::new_v4().simple());
    for name in [&left, ".keywheel-notes.tmp", ".keywheel.tmp"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    opened(spec(&path)).deliver(&parcel("new")).await.unwrap();
    let mut names = names(&folder);
    names.sort();
    assert_eq!(names, [".keywheel-notes.tmp", ".keywheel.tmp", "app"]);
}

#[tokio::test]
async fn d3_a_file_that_already_holds_it_is_not_written_again() {
    let (folder, path) = folder(Some("{\"k\":\"new\"}"));
    let ran = folder.path().join("ran");
    let destination = opened(FileSpec {
        reload: vec!["touch".to_owned(), ran.to_str().unwrap().to_owned()],
        ..keyed(&path, FileFormat::Json, "k")
    });
    let before = path.metadata().unwrap().ino();
    destination.deliver(&parcel("new")).await.unwrap();
    assert_eq!(path.metadata().unwrap().ino(), before);
    assert!(ran.exists(), "a resumed delivery runs the command again");
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_writers_of_one_file_wait_for_each_other() {
    let (_folder, path) = folder(Some("# mine\n"));
    let writers = (0..12).map(|n| {
        let destination = opened(keyed(&path, FileFormat::Dotenv, &format!("KEY_{n}")));
        tokio::spawn(async move { destination.deliver(&parcel("new")).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 13, "{text}");
}

#[tokio::test]
async fn c9_what_can_not_be_written_is_found_out_before() {
    let (folder, path) = folder(Some("{]"));
    let cases = [
        (spec(&folder.path().join("no/app")), "file-folder-missing"),
        (spec(&path.join("app")), "file-folder-unreadable"),
        (keyed(&path, FileFormat::Json, "k"), "file-format"),
        (
            FileSpec {
                owner: Some("nobody-of-that-name".to_owned()),
                ..spec(&path)
            },
            "file-owner-unknown",
        ),
    ];
    for (spec, code) in cases {
        assert_eq!(fault(spec).await.code, code);
    }
    let inner = folder.path().join("folder");
    std::fs::create_dir(&inner).unwrap();
    assert_eq!(fault(spec(&inner)).await.code, "file-not-readable");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{]");
    assert_eq!(names(&folder).len(), 2);
}

#[tokio::test]
async fn c9_a_folder_that_is_not_ours_to_write_is_found_out_before() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let (folder, path) = folder(None);
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o500)).unwrap();
    let unwritable = fault(spec(&path)).await;
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(unwritable.code, "file-not-writable");

    let given_away = FileSpec {
        owner: Some("0".to_owned()),
        ..spec(&path)
    };
    assert_eq!(fault(given_away).await.code, "file-ownership");
    assert!(!path.exists());
}

#[tokio::test]
async fn c9_a_file_that_someone_laid_out_where_everybody_may_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (folder, path) = folder(Some(""));
    std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
    opened(spec(&path)).check().await.unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    assert_eq!(fault(spec(&path)).await.code, "file-of-a-stranger");
}

#[test]
fn c9_a_declaration_that_can_not_be_is_refused() {
    let path = Path::new("/srv/app");
    let dotenv = |key: Option<&str>| FileSpec {
        format: FileFormat::Dotenv,
        key: key.map(str::to_owned),
        ..spec(path)
    };
    let with_mode = |mode: &str| FileSpec {
        mode: Some(mode.to_owned()),
        ..spec(path)
    };
    let cases = [
        (spec(Path::new("app")), "is not absolute"),
        (spec(Path::new("/")), "names no file"),
        (spec(Path::new("/srv/..")), "names no file"),
        (dotenv(None), "needs `key`"),
        (dotenv(Some("MY-KEY")), "no name of a variable"),
        (
            FileSpec {
                key: Some("K".into()),
                ..spec(path)
            },
            "has no `key`",
        ),
        (with_mode("rw"), "is not octal"),
        (with_mode("4755"), "is not octal"),
        (with_mode("+640"), "is not octal"),
    ];
    for (spec, part) in cases {
        let fault = open(&DestinationSpec::File(spec)).unwrap_err();
        assert!(fault.message.contains(part), "{fault}");
        assert!(!fault.remedy.is_empty());
    }
}

#[test]
fn c7_two_that_write_to_the_same_place_are_found() {
    let (folder, path) = folder(Some(""));
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    let detour = folder.path().join("./app");
    let place = |spec: FileSpec| opened(spec).place();
    let json = |key: &str| place(keyed(&path, FileFormat::Json, key));
    let dotenv = |key: &str| place(keyed(&path, FileFormat::Dotenv, key));

    assert_eq!(place(spec(&path)), place(spec(&link)));
    assert_eq!(place(spec(&path)), place(spec(&detour)));
    assert_eq!(json("a"), json("/a"));
    for (one, other, overlap) in [
        (place(spec(&path)), dotenv("A"), true),
        (dotenv("A"), dotenv("A"), true),
        (dotenv("A"), dotenv("B"), false),
        (dotenv("A"), json("B"), true),
        (json("/a"), json("/a/b"), true),
        (json("/a"), json("/ab"), false),
        (
            place(spec(&path)),
            place(spec(&folder.path().join("app#A"))),
            false,
        ),
    ] {
        assert_eq!(one.overlaps(&other), overlap, "{one:?} {other:?}");
        assert_eq!(other.overlaps(&one), overlap, "{one:?} {other:?}");
    }
}

#[tokio::test]
async fn h1_a_secret_that_would_be_read_differently_is_not_written() {
    let (_folder, path) = folder(Some("KEY=old\n"));
    let destination = opened(keyed(&path, FileFormat::Dotenv, "KEY"));
    let fault = destination.deliver(&parcel("it's $5")).await.unwrap_err();
    assert_eq!(fault.code, "file-format");
    assert!(!format!("{fault:?}").contains("$5"), "P6");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "KEY=old\n");
}

#[tokio::test]
async fn h6_what_someone_else_wrote_over_it_is_noticed() {
    let (_folder, path) = folder(None);
    let destination = opened(spec(&path));
    destination.deliver(&parcel("new")).await.unwrap();
    std::fs::write(&path, "new\n").unwrap();
    assert_eq!(destination.holds(&parcel("new")).await, Ok(Some(false)));
}

#[tokio::test]
async fn p6_no_fault_and_no_debug_output_has_the_secret() {
    let (_folder, path) = folder(None);
    let template = FileSpec {
        format: FileFormat::Template,
        template: Some("{% if secret|length > 18 %}{{ secret|int }}{% endif %}{{ secret }}".into()),
        ..spec(&path)
    };
    let destination = opened(template);
    let parcel = parcel(ODD);
    let fault = destination.deliver(&parcel).await.unwrap_err();
    assert_eq!(fault.code, "file-format");
    for text in [
        format!("{fault:?}"),
        format!("{destination:?}"),
        format!("{parcel:?}"),
    ] {
        assert!(!text.contains("aB3~"), "{text}");
    }
    assert!(!path.exists());
}
